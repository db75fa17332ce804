// The rules for schemas of graphql-eslint: recommended and Relay.

import plugin from "@graphql-eslint/eslint-plugin";

const { configs, parser } = plugin;

export default [
  {
    files: ["**/schema.graphql"],
    languageOptions: { parser, parserOptions: { graphQLConfig: { schema: "schema.graphql" } } },
    plugins: { "@graphql-eslint": plugin },
    rules: {
      ...configs["flat/schema-recommended"].rules,
      ...configs["flat/schema-relay"].rules,
      "@graphql-eslint/strict-id-in-types": [
        "error",
        {
          acceptedIdNames: ["id"],
          acceptedIdTypes: ["ID"],
          exceptions: {
            // They hold other things, and are found again through these.
            suffixes: ["Connection", "Edge", "Payload"],
            // They belong to one person, match or answer, and go where that goes.
            types: [
              ...["Features", "Matching", "MatchReasons", "PageInfo", "Profile"],
              ...["StoryChange", "UserError", "Viewer"],
            ],
          },
        },
      ],
      // Lists that cannot grow (20 tags, userErrors, the `nodes` of a page) are plain lists: a
      // connection would cost a level and a cursor for nothing.
      "@graphql-eslint/relay-edge-types": [
        "error",
        { withEdgeSuffix: true, shouldImplementNode: true, listTypeCanWrapOnlyEdgeType: false },
      ],
    },
  },
];
