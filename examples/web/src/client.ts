import { Client, fetchExchange } from "@urql/core";
import { cacheExchange, type Cache } from "@urql/exchange-graphcache";
import { relayPagination } from "@urql/exchange-graphcache/extras";

import type { CreateStoryMutation } from "./gql/graphql";

const none = () => null; // types without an id: kept with what leads to them

function forget(cache: Cache, entity: string, field: string) {
  for (const found of cache.inspectFields(entity)) {
    if (found.fieldName === field) cache.invalidate(entity, found.fieldKey);
  }
}

export const client = new Client({
  url: "/graphql",
  // The server wants this header beside its session cookie: no other site can send it.
  fetchOptions: { headers: { "X-Requested-With": "community-gql-example" } },
  preferGetMethod: false,
  exchanges: [
    cacheExchange({
      // Pages of one list, asked for with different `after`, read as one list.
      resolvers: {
        Query: { stories: relayPagination() },
        User: { stories: relayPagination() },
      },
      keys: {
        MatchConnection: none,
        PageInfo: none,
        Profile: none,
        StoryConnection: none,
        Viewer: none,
      },
      updates: {
        Mutation: {
          // A refused story changes nothing; a new one belongs at the head of lists we know.
          createStory(result: CreateStoryMutation, _input, cache) {
            const story = result.createStory?.story;
            if (!story) return;
            forget(cache, "Query", "stories");
            forget(cache, `User:${story.author.id}`, "stories");
          },
        },
      },
    }),
    fetchExchange,
  ],
});
