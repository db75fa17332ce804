// GraphQL Yoga with graphql-ws, as its documentation teaches them: a trigger notifies of new
// stories, one connection listens, and each subscription asks the database whether its viewer may
// see what was written.
//
//     node yoga.mjs     (DATABASE_URL, OIDC_ISSUER, ... in the environment)
import { createServer } from "node:http";

import { useServer } from "graphql-ws/use/ws";
import { createPubSub, createSchema, createYoga } from "graphql-yoga";
import pg from "pg";
import { WebSocketServer } from "ws";

import { viewerOf } from "./viewer.mjs";

const connectionString = process.env.DATABASE_URL;
const pool = new pg.Pool({ connectionString, max: Number(process.env.DATABASE_POOL_SIZE) });
const pubSub = createPubSub();
const listener = new pg.Client({ connectionString });
await listener.connect();
listener.on("notification", ({ payload }) => pubSub.publish("stories", payload));
await listener.query("LISTEN benchmark_stories");

const VISIBLE = {
  name: "visible",
  text: `SELECT s.id, s.title, s.tags_cached AS "tagNames" FROM stories s WHERE s.id = $2 AND (
    s.visibility = 'public' OR s.user_id = $1
    OR s.visibility = 'friends' AND s.user_id = ANY (ARRAY(
      SELECT addressee_id FROM friendships WHERE requester_id = $1 AND status = 'accepted'
      UNION ALL
      SELECT requester_id FROM friendships WHERE addressee_id = $1 AND status = 'accepted'
    )))`,
};

const yoga = createYoga({
  schema: createSchema({
    typeDefs: `
      type Query { ok: Boolean }
      type Story { id: ID! title: String! tagNames: [String!]! }
      type Subscription { stories: Story! }
    `,
    resolvers: {
      Subscription: {
        stories: {
          async *subscribe(_, __, { viewer }) {
            for await (const id of pubSub.subscribe("stories")) {
              for (const row of (await pool.query({ ...VISIBLE, values: [viewer, id] })).rows) {
                yield { stories: row };
              }
            }
          },
        },
      },
    },
  }),
  graphiql: false,
  logging: "error",
});

const server = createServer(yoga);
useServer(
  {
    execute: (args) => args.rootValue.execute(args),
    subscribe: (args) => args.rootValue.subscribe(args),
    async onSubscribe(ctx, _id, params) {
      const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
        ...ctx,
        req: ctx.extra.request,
        socket: ctx.extra.socket,
        params,
        viewer: await viewerOf(ctx.extra.request.headers.authorization),
      });
      const args = {
        schema,
        operationName: params.operationName,
        document: parse(params.query),
        variableValues: params.variables,
        contextValue: await contextFactory(),
        rootValue: { execute, subscribe },
      };
      const errors = validate(args.schema, args.document);
      return errors.length ? errors : args;
    },
  },
  new WebSocketServer({ server, path: "/graphql", perMessageDeflate: false }),
);
server.listen(Number(process.env.PORT), "127.0.0.1");
