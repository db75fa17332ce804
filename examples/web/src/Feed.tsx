import { useCallback, useEffect, useState } from "react";
import { useQuery, useSubscription } from "urql";

import { Button, text } from "./Form";
import { graphql, readFragment } from "./gql";
import type { FollowFeedSubscription } from "./gql/graphql";
import { Search } from "./People";
import { go, Link, Page, useAddress } from "./route";
import { Pages, StoryCard, useDepth } from "./Stories";
import { useViewer } from "./viewer";

const FeedQuery = graphql(`
  query Feed($filter: StoryFilter!, $after: String, $isFirst: Boolean!) {
    moment @include(if: $isFirst)
    stories(first: 10, filter: $filter, after: $after) {
      nodes { id ...StoryCard }
      pageInfo { endCursor hasNextPage }
    }
  }
`);

const FollowFeed = graphql(`
  subscription FollowFeed($filter: StoryFilter!, $after: String) {
    stories(filter: $filter, after: $after) { kind goneId moment story { id ...StoryCard } }
  }
`);

const TagsQuery = graphql(`query PopularTags { tags(first: 12, orderBy: POPULARITY) { nodes { id name } } }`);

type Wanted = { search: string; tags: readonly string[] };

function address({ search, tags }: Wanted): string {
  const query = new URLSearchParams(tags.map((name) => ["tag", name]));
  if (search !== "") query.set("search", search);
  return query.size > 0 ? `/?${query}` : "/";
}

export function Feed() {
  const query = useAddress().searchParams;
  const wanted = { search: query.get("search") ?? "", tags: query.getAll("tag") };
  const [reads, setReads] = useState(0);
  const again = useCallback(() => setReads((number) => number + 1), []);
  const write = useViewer() && (
    <Link to="/write" className="button">
      Write
    </Link>
  );
  return (
    <Page title="Stories" aside={write}>
      <Filters {...wanted} />
      {/* Another key is another list, read from the start and followed from its own moment. */}
      <List key={`${address(wanted)} ${reads}`} {...wanted} again={again} />
    </Page>
  );
}

function Filters({ search, tags }: Wanted) {
  const [{ data }] = useQuery({ query: TagsQuery });
  const popular = data?.tags.nodes.map(({ name }) => name) ?? [];
  const find = (form: FormData) => go(address({ search: text(form, "search").trim(), tags }));
  return (
    <div className="filters">
      <Search key={search} label="Search stories" what={search} find={find} />
      <ul className="tags" aria-label="Filter by tag">
        {[...tags, ...popular.filter((name) => !tags.includes(name))].map((name) => {
          const chosen = tags.includes(name);
          const others = tags.filter((other) => other !== name);
          return (
            <li key={name}>
              <Link
                to={address({ search, tags: chosen ? others : [...tags, name] })}
                className="tag"
                current={chosen}
              >
                {name}
                {chosen && <span aria-label="(remove)"> ×</span>}
              </Link>
            </li>
          );
        })}
      </ul>
    </div>
  );
}

type News = { ids: ReadonlySet<string>; isToReload: boolean };
const NO_NEWS: News = { ids: new Set(), isToReload: false };

/** What has come since the list was read, after one more event. */
function told(news: News = NO_NEWS, { stories }: FollowFeedSubscription): News {
  const { kind, goneId } = stories;
  const story = readFragment(StoryCard, stories.story);
  if (kind === "RELOAD") return { ...news, isToReload: true };
  if (kind === "APPEARED" && story) {
    // Nobody has to be told of what they wrote themselves, in another window: it is shown at once.
    if (story.viewerCanEdit) return { ...news, isToReload: true };
    return { ...news, ids: new Set([...news.ids, story.id]) };
  }
  // CHANGED is in the cache already, GONE is out of its lists (client.ts).
  if (kind === "GONE" && goneId) {
    return { ...news, ids: new Set([...news.ids].filter((id) => id !== goneId)) };
  }
  return news;
}

function List({ search, tags, again }: Wanted & { again: () => void }) {
  const filter = { search, tagsAll: [...tags] };
  const [depth, deeper] = useDepth();
  const [moment, setMoment] = useState<string>();
  const usePage = (after: string | null) => {
    const requestPolicy = after === null ? "cache-and-network" : "cache-first";
    const variables = { filter, after, isFirst: after === null };
    const [{ data, error, stale }, retry] = useQuery({ query: FeedQuery, variables, requestPolicy });
    return { list: data?.stories, moment: stale ? undefined : data?.moment, error, again: retry };
  };
  const { list, moment: read } = usePage(null);
  // Followed from the moment that the list shows, so nothing is missed in between.
  useEffect(() => setMoment((first) => first ?? read), [read]);
  const [{ data: news = NO_NEWS }] = useSubscription(
    { query: FollowFeed, variables: { filter, after: moment }, pause: moment === undefined },
    told,
  );
  useEffect(() => {
    if (news.isToReload) again();
  }, [news.isToReload, again]);

  const show = () => {
    window.history.replaceState(null, "");
    window.scrollTo(0, 0);
    again();
  };
  const count = news.ids.size;
  return (
    <>
      <div role="status" className="news">
        {count > 0 && <Button label={count === 1 ? "1 new story" : `${count} new stories`} look="" act={show} />}
      </div>
      {list?.nodes.length === 0 && (
        <p className="empty">No stories {search || tags.length > 0 ? "like this" : "yet"}.</p>
      )}
      <Pages usePage={usePage} depth={depth} deeper={deeper} />
    </>
  );
}
