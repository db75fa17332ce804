import { useQuery, useSubscription } from "urql";

import { Failure, Pending } from "./errors";
import { Friendship } from "./Friendship";
import { graphql, readFragment } from "./gql";
import { Avatar, nameOf, PersonLink } from "./People";
import { Link, NotFound, Page } from "./route";
import { Day, Pages, Tags, useDepth } from "./Stories";
import { useViewer } from "./viewer";

const AboutPerson = graphql(`
  fragment AboutPerson on User {
    id createdAt
    ...PersonName
    ...Bond
    profile { bio }
    garden { id name theme }
    tags { id name }
    viewerFriendship { id status }
  }
`);

const PersonStories = graphql(`
  fragment PersonStories on User {
    id
    stories(first: 5, after: $after) {
      totalCount
      nodes { id ...StoryCard }
      pageInfo { endCursor hasNextPage }
    }
  }
`);

const PersonQuery = graphql(`query Person($id: ID!) { user(id: $id) { ...AboutPerson } }`);

// With the first page of their stories, so that a new one is shown as it comes.
const FollowPerson = graphql(`
  subscription FollowPerson($id: ID!, $after: String) {
    node(id: $id) { __typename ... on User { ...AboutPerson ...PersonStories } }
  }
`);

const StoriesQuery = graphql(`
  query PersonStories($id: ID!, $after: String) { user(id: $id) { ...PersonStories } }
`);

const FriendsQuery = graphql(`
  query Friends {
    viewer { friends(first: 100, orderBy: NAME) { totalCount nodes { id ...PersonName } } }
  }
`);

export function Person({ id }: { id: string }) {
  const [{ data, error }, again] = useQuery({ query: PersonQuery, variables: { id } });
  const [live] = useSubscription({ query: FollowPerson, variables: { id, after: null } });
  const isMe = useViewer()?.user.id === id;
  if (!data) return <Pending title="Person" error={error} again={again} />;
  const user = live.data?.node === null ? null : readFragment(AboutPerson, data.user);
  if (!user) return <NotFound what="person" />;
  const edit = isMe && (
    <Link to="/profile" className="button">
      Edit profile
    </Link>
  );
  return (
    <Page title={nameOf(user)} aside={edit}>
      <section className="card about" aria-label="About">
        <Avatar who={user} large />
        <div>
          <p className="bio">{user.profile?.bio ?? "Nothing is written here yet."}</p>
          <p className="quiet">
            Here since <Day at={user.createdAt} />
          </p>
          {user.garden && (
            <p>
              Garden: <strong>{user.garden.name}</strong> {user.garden.theme && `(${user.garden.theme})`}
            </p>
          )}
          <Tags names={user.tags.map(({ name }) => name)} />
          <Friendship with={user} />
        </div>
      </section>
      {isMe && <Friends />}
      {/* A new friend shows more than a stranger: another list. */}
      <TheirStories key={user.viewerFriendship?.status} id={id} />
    </Page>
  );
}

function Friends() {
  const [{ data, error }] = useQuery({ query: FriendsQuery, requestPolicy: "cache-and-network" });
  const friends = data?.viewer?.friends;
  return (
    <section aria-labelledby="friends">
      <h2 id="friends">Friends</h2>
      <Failure error={error} />
      {friends?.totalCount === 0 && (
        <p className="empty">
          None yet. <Link to="/matches">See who suits you</Link>
        </p>
      )}
      <ul className="friends">
        {friends?.nodes.map((friend) => (
          <li key={friend.id}>
            <PersonLink who={friend} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function TheirStories({ id }: { id: string }) {
  const [depth, deeper] = useDepth();
  const usePage = (after: string | null) => {
    const requestPolicy = after === null ? "cache-and-network" : "cache-first";
    const [{ data, error }, again] = useQuery({ query: StoriesQuery, variables: { id, after }, requestPolicy });
    return { list: readFragment(PersonStories, data?.user)?.stories, error, again };
  };
  const count = usePage(null).list?.totalCount;
  return (
    <>
      <h2>{count === undefined ? "Stories" : count === 1 ? "1 story" : `${count} stories`}</h2>
      <Pages usePage={usePage} depth={depth} deeper={deeper} />
    </>
  );
}
