// PostGraphile 5 over the same tables, with row-level security as its team recommends.
// What the database needs for that is in postgraphile.sql.
//
//     node postgraphile.mjs     (DATABASE_URL, OIDC_ISSUER, ... in the environment)
import { createServer } from "node:http";

import { PgManyToManyPreset } from "@graphile-contrib/pg-many-to-many";
import { PgSimplifyInflectionPreset } from "@graphile/simplify-inflection";
import { printSchema } from "graphql";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

import { viewerOf } from "./viewer.mjs";

const preset = {
  extends: [PostGraphileAmberPreset, PgSimplifyInflectionPreset, PgManyToManyPreset],
  pgServices: [
    makePgService({
      connectionString: process.env.DATABASE_URL,
      schemas: ["public"],
      poolConfig: { max: Number(process.env.DATABASE_POOL_SIZE) },
      pubsub: false,
    }),
  ],
  schema: { defaultBehavior: "-insert -update -delete" },
  grafast: {
    explain: false,
    async context(requestContext) {
      const viewer = await viewerOf(requestContext.node.req.headers.authorization);
      return { pgSettings: { role: "benchmark_visitor", "jwt.claims.sub": viewer ?? "" } };
    },
  },
  grafserv: { port: Number(process.env.PORT), graphiql: false, watch: false },
};

const instance = postgraphile(preset);
if (process.argv[2] === "--schema") {
  console.log(printSchema(await instance.getSchema()));
  process.exit(0);
}
await instance.getSchema();
const server = createServer();
server.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
await instance.createServ(grafserv).addTo(server);
server.listen(Number(process.env.PORT), "127.0.0.1");
