// PostGraphile 5 with a subscription over its own `listen`, as its documentation teaches it: a
// trigger notifies of new stories, and each subscription reads what was written as its viewer.
// What the viewer may not see is told as null: a plan cannot leave an event out.
//
//     node postgraphile-live.mjs     (DATABASE_URL, OIDC_ISSUER, ... in the environment)
import { createServer } from "node:http";

import { PgSimplifyInflectionPreset } from "@graphile/simplify-inflection";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { context, lambda, listen } from "postgraphile/grafast";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { extendSchema, gql } from "postgraphile/utils";

import { viewerOf } from "./viewer.mjs";

const stories = extendSchema((build) => ({
  typeDefs: gql`
    type NewStory {
      story: Story
    }
    extend type Subscription {
      stories: NewStory
    }
  `,
  objects: {
    Subscription: {
      plans: {
        stories: {
          subscribePlan: () => listen(context().get("pgSubscriber"), "benchmark_stories", ($e) => $e),
          plan: ($event) => $event,
        },
      },
    },
    NewStory: {
      plans: {
        story: ($event) =>
          build.pgResources.stories.get({ id: lambda($event, (text) => Number(text), true) }),
      },
    },
  },
}));

const preset = {
  extends: [PostGraphileAmberPreset, PgSimplifyInflectionPreset],
  plugins: [stories],
  pgServices: [
    makePgService({
      connectionString: process.env.DATABASE_URL,
      schemas: ["public"],
      poolConfig: { max: Number(process.env.DATABASE_POOL_SIZE) },
      pubsub: true,
    }),
  ],
  schema: { defaultBehavior: "-insert -update -delete" },
  grafast: {
    explain: false,
    async context(requestContext) {
      const request = requestContext.node?.req ?? requestContext.ws?.request;
      const viewer = await viewerOf(request?.headers.authorization);
      return { pgSettings: { role: "benchmark_visitor", "jwt.claims.sub": viewer ?? "" } };
    },
  },
  grafserv: { port: Number(process.env.PORT), graphiql: false, watch: false, websockets: true },
};

const instance = postgraphile(preset);
await instance.getSchema();
const server = createServer();
server.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
await instance.createServ(grafserv).addTo(server);
server.listen(Number(process.env.PORT), "127.0.0.1");
