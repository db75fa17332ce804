import { useState } from "react";
import { useQuery } from "urql";

import { Failure } from "./errors";
import { graphql } from "./gql";
import { More, Stories } from "./Stories";

const FeedQuery = graphql(`
  query Feed($after: String) {
    stories(first: 10, after: $after) {
      nodes {
        id
        ...StoryCard
      }
      pageInfo {
        endCursor
        hasNextPage
      }
    }
  }
`);

export function Feed() {
  const [after, setAfter] = useState<string | null>(null);
  const [{ data, fetching, error }] = useQuery({ query: FeedQuery, variables: { after } });
  const { endCursor, hasNextPage } = data?.stories.pageInfo ?? {};
  return (
    <main>
      <h1>Stories</h1>
      {error && <Failure error={error} />}
      {data && <Stories stories={data.stories.nodes} />}
      {!data && fetching && <p className="quiet">Loading…</p>}
      {hasNextPage && endCursor && (
        <More busy={fetching} wanted={() => setAfter(endCursor)} />
      )}
    </main>
  );
}
