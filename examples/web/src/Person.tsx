import { useState } from "react";
import { useQuery } from "urql";

import { Failure } from "./errors";
import { graphql } from "./gql";
import { Link, person } from "./route";
import { More, Stories } from "./Stories";

const PersonQuery = graphql(`
  query Person($id: ID!, $after: String) {
    user(id: $id) {
      id
      accountAgeDays
      profile {
        displayName
        bio
      }
      garden {
        id
        name
        theme
      }
      tags {
        id
        name
      }
      viewerFriendship {
        id
        status
      }
      matches(first: 3) {
        nodes {
          id
          score
          sharedTags {
            id
            name
          }
          user {
            id
            profile {
              displayName
            }
          }
        }
      }
      stories(first: 5, after: $after) {
        totalCount
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
  }
`);

const FRIENDSHIP = { ACCEPTED: "You are friends.", PENDING: "A friendship is being asked for." };

export function Person({ id }: { id: string }) {
  const [after, setAfter] = useState<string | null>(null);
  const [{ data, fetching, error }] = useQuery({ query: PersonQuery, variables: { id, after } });
  if (error) return <main><Failure error={error} /></main>;
  if (!data) return <main><p className="quiet">Loading…</p></main>;
  const { user } = data;
  // What does not exist and what the viewer may not see is null alike.
  if (!user) return <main><h1>Nobody here</h1></main>;
  const { endCursor, hasNextPage } = user.stories.pageInfo;
  return (
    <main>
      <h1>{user.profile?.displayName ?? "Someone"}</h1>
      <section className="card" aria-label="About">
        <p>{user.profile?.bio ?? "They have not said anything about themselves."}</p>
        <p className="quiet">
          Here for {user.accountAgeDays} days.{" "}
          {user.viewerFriendship && FRIENDSHIP[user.viewerFriendship.status]}
        </p>
        {user.garden && (
          <p className="garden">
            Garden: <strong>{user.garden.name}</strong> {user.garden.theme && `(${user.garden.theme})`}
          </p>
        )}
        <p className="tags">
          {user.tags.map(({ id, name }) => (
            <span key={id}>{name}</span>
          ))}
        </p>
      </section>
      {user.matches.nodes.length > 0 && (
        <section aria-labelledby="matches">
          <h2 id="matches">People who suit you</h2>
          <ul className="matches">
            {user.matches.nodes.map((match) => (
              <li key={match.id}>
                <Link to={person(match.user.id)}>
                  {match.user.profile?.displayName ?? "Someone"}
                </Link>{" "}
                {Math.round(match.score * 100)} %{" "}
                <span className="quiet">
                  {match.sharedTags.map(({ name }) => name).join(", ")}
                </span>
              </li>
            ))}
          </ul>
        </section>
      )}
      <h2>{user.stories.totalCount} stories</h2>
      <Stories stories={user.stories.nodes} />
      {hasNextPage && endCursor && (
        <More busy={fetching} wanted={() => setAfter(endCursor)} />
      )}
    </main>
  );
}
