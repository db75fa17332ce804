// Mercurius with JIT and loaders: a schema like this project's, one batched statement per field.
//
//     node mercurius.mjs     (DATABASE_URL, OIDC_ISSUER, ... in the environment)
import Fastify from "fastify";
import mercurius from "mercurius";
import pg from "pg";

import { viewerOf } from "./viewer.mjs";

// Moments stay text: a Date has no microseconds. The server's time zone is UTC.
pg.types.setTypeParser(1184, (text) => `${text.replace(" ", "T")}:00`);
const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.DATABASE_POOL_SIZE),
});

const schema = `
  type Query {
    user(id: ID!): User
    users(first: Int!, after: String): UserConnection!
    stories(first: Int!, after: String): StoryConnection!
    viewer: Viewer
  }
  type Viewer { user: User! }
  type User {
    id: ID!
    createdAt: String!
    profile: Profile
    garden: Garden
    stories(first: Int!): StoryList!
    matches(first: Int!): MatchList!
  }
  type Profile { displayName: String bio: String }
  type Garden { name: String! theme: String }
  type Story {
    id: ID!
    title: String!
    visibility: String!
    createdAt: String!
    tagNames: [String!]!
    tags: [Tag!]!
    author: User!
  }
  type Tag { id: ID! name: String! }
  type Match { score: Float! user: User! }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type UserConnection { nodes: [User!]! pageInfo: PageInfo! }
  type StoryConnection { nodes: [Story!]! pageInfo: PageInfo! }
  type StoryList { nodes: [Story!]! }
  type MatchList { nodes: [Match!]! }
`;

// $1 is the viewer.
const VISIBLE = `(
  s.visibility = 'public' OR s.user_id = $1
  OR s.visibility = 'friends' AND s.user_id = ANY (ARRAY(
    SELECT addressee_id FROM friendships WHERE requester_id = $1 AND status = 'accepted'
    UNION ALL
    SELECT requester_id FROM friendships WHERE addressee_id = $1 AND status = 'accepted'
  ))
)`;
const USER = `u.auth0_sub AS sub, u.public_id AS id, u.created_at AS "createdAt"`;
const STORY = `s.id, s.user_id AS sub, s.title, s.visibility, s.created_at AS "createdAt",
  s.tags_cached AS "tagNames"`;
const NEWEST = "ORDER BY s.created_at DESC, s.id DESC LIMIT";

// Named statements are prepared once per connection.
const STATEMENTS = {
  user: `SELECT ${USER} FROM users u WHERE u.public_id = $1`,
  viewer: `SELECT ${USER} FROM users u WHERE u.auth0_sub = $1`,
  users: `SELECT ${USER} FROM users u
    ORDER BY u.created_at DESC, u.public_id DESC LIMIT $1`,
  usersAfter: `SELECT ${USER} FROM users u WHERE (u.created_at, u.public_id) < ($2, $3)
    ORDER BY u.created_at DESC, u.public_id DESC LIMIT $1`,
  stories: `SELECT ${STORY} FROM stories s WHERE ${VISIBLE} ${NEWEST} $2`,
  storiesAfter: `SELECT ${STORY} FROM stories s
    WHERE ${VISIBLE} AND (s.created_at, s.id) < ($3, $4) ${NEWEST} $2`,
  profiles: `SELECT user_id AS sub, display_name AS "displayName", bio FROM user_profiles
    WHERE user_id = ANY ($1)`,
  gardens: "SELECT user_id AS sub, name, theme FROM gardens WHERE user_id = ANY ($1)",
  people: `SELECT ${USER} FROM users u WHERE u.auth0_sub = ANY ($1)`,
  storiesOf: `SELECT s.* FROM unnest($2::varchar[]) AS person (sub) CROSS JOIN LATERAL (
    SELECT ${STORY} FROM stories s WHERE s.user_id = person.sub AND ${VISIBLE} ${NEWEST} $3
  ) s`,
  tagsOf: `SELECT st.story_id AS story, t.id, t.name FROM story_tags st JOIN tags t ON t.id = st.tag_id
    WHERE st.story_id = ANY ($1::bigint[]) ORDER BY t.name`,
  matches: `SELECT m.score, m.target_user_id AS sub FROM match_results m
    WHERE m.user_id = $1
      AND m.created_at = (SELECT max(created_at) FROM match_results WHERE user_id = $1)
    ORDER BY m.score DESC, m.id DESC LIMIT $2`,
};

async function run(name, ...values) {
  return (await pool.query({ name, text: STATEMENTS[name], values })).rows;
}

function connection(rows, size) {
  const nodes = rows.slice(0, size);
  const last = nodes.at(-1);
  return {
    nodes,
    pageInfo: {
      hasNextPage: rows.length > size,
      endCursor: last ? `${last.createdAt}~${last.id}` : null,
    },
  };
}

const subs = (queries) => queries.map(({ obj }) => obj.sub);

// One row, or null, for each parent.
async function one(name, queries) {
  const found = new Map((await run(name, subs(queries))).map((row) => [row.sub, row]));
  return queries.map(({ obj }) => found.get(obj.sub) ?? null);
}

function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const group = groups.get(row[key]);
    if (group) group.push(row);
    else groups.set(row[key], [row]);
  }
  return groups;
}

const resolvers = {
  Query: {
    user: async (_, { id }) => (await run("user", id))[0],
    async users(_, { first, after }) {
      if (!after) return connection(await run("users", first + 1), first);
      return connection(await run("usersAfter", first + 1, ...after.split("~")), first);
    },
    async stories(_, { first, after }, { viewer }) {
      if (!after) return connection(await run("stories", viewer, first + 1), first);
      const rows = await run("storiesAfter", viewer, first + 1, ...after.split("~"));
      return connection(rows, first);
    },
    viewer: (_, __, { viewer }) => (viewer === null ? null : {}),
  },
  Viewer: {
    user: async (_, __, { viewer }) => (await run("viewer", viewer))[0],
  },
};

const loaders = {
  User: {
    profile: (queries) => one("profiles", queries),
    garden: (queries) => one("gardens", queries),
    async stories(queries, { viewer }) {
      const most = Math.max(...queries.map(({ params }) => params.first));
      const found = grouped(await run("storiesOf", viewer, subs(queries), most), "sub");
      return queries.map(({ obj, params }) => ({
        nodes: (found.get(obj.sub) ?? []).slice(0, params.first),
      }));
    },
    // Only the viewer's own are to be seen, so there is never more than one to load.
    matches: (queries, { viewer }) =>
      Promise.all(
        queries.map(async ({ obj, params }) => ({
          nodes: obj.sub === viewer ? await run("matches", viewer, params.first) : [],
        })),
      ),
  },
  Story: {
    author: (queries) => one("people", queries),
    async tags(queries) {
      const stories = queries.map(({ obj }) => obj.id);
      const found = grouped(await run("tagsOf", stories), "story");
      return stories.map((story) => found.get(story) ?? []);
    },
  },
  Match: {
    user: (queries) => one("people", queries),
  },
};

// Without the cache of each request: it saves nothing here and costs a tenth.
for (const fields of Object.values(loaders)) {
  for (const [name, loader] of Object.entries(fields)) {
    fields[name] = { loader, opts: { cache: false } };
  }
}

const app = Fastify();
app.register(mercurius, {
  schema,
  resolvers,
  loaders,
  jit: 1,
  graphiql: false,
  context: async (request) => ({ viewer: await viewerOf(request.headers.authorization) }),
});
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
