import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { cacheExchange, type Cache } from "@urql/exchange-graphcache";

import type { DeleteStoryMutation, FollowFeedSubscription, FollowMeSubscription } from "./gql/graphql";
import { follow } from "./live";

// Types without an id: kept with what leads to them.
const CONNECTIONS = ["Friendship", "Habit", "Match", "Story", "Tag", "User"].map((name) => `${name}Connection`);
const KEYLESS = [...CONNECTIONS, "Matching", "MatchReasons", "PageInfo", "Profile"];

/** Takes a story out of every list that has it. */
function drop(cache: Cache, id: string) {
  const story = cache.keyOfEntity({ __typename: "Story", id });
  if (story === null) return;
  for (const owner of ["Query", cache.resolve(story, "author")]) {
    if (typeof owner !== "string") continue;
    for (const { fieldName, fieldKey } of cache.inspectFields(owner)) {
      const list = fieldName === "stories" ? cache.resolve(owner, fieldKey) : null;
      const nodes = typeof list === "string" ? cache.resolve(list, "nodes") : null;
      if (typeof list !== "string" || !Array.isArray(nodes)) continue;
      cache.link(list, "nodes", nodes.filter((key) => key !== story) as string[]);
    }
  }
}

export const client = new Client({
  url: "/graphql",
  // The server wants this header beside its session cookie: no other site can send it.
  fetchOptions: { headers: { "X-Requested-With": "community-gql-example" } },
  preferGetMethod: false,
  exchanges: [
    // What a mutation or a subscription answers changes what every query shows of the same things.
    cacheExchange({
      keys: {
        ...Object.fromEntries(KEYLESS.map((name) => [name, () => null])),
        // There is one only. So what `Subscription.viewer` tells is what `Query.viewer` has read.
        Viewer: () => "me",
      },
      updates: {
        Mutation: {
          deleteStory({ deleteStory }: DeleteStoryMutation, _input, cache) {
            if (deleteStory?.deletedId) drop(cache, deleteStory.deletedId);
          },
        },
        Subscription: {
          stories({ stories }: FollowFeedSubscription, _given, cache) {
            if (stories.goneId) drop(cache, stories.goneId);
          },
          viewer({ viewer }: FollowMeSubscription, _given, cache) {
            if (viewer === null) cache.invalidate("Query", "viewer"); // signed out meanwhile
          },
        },
      },
    }),
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query = "", ...request }) => ({
        subscribe: (sink) => ({ unsubscribe: follow({ ...request, query }, sink as never) }),
      }),
    }),
  ],
});
