import { useEffect, useRef, useState } from "react";
import type { CombinedError } from "urql";

import { Failure } from "./errors";
import { graphql, readFragment, type FragmentType } from "./gql";
import { Markdown } from "./Markdown";
import { PersonLink } from "./People";
import { Link, story as at, tagged } from "./route";

export const StoryCard = graphql(`
  fragment StoryCard on Story {
    id title
    excerpt(length: 400)
    visibility tagNames createdAt viewerCanEdit
    author { id ...PersonName }
  }
`);

export const SEEN_BY = { PUBLIC: "Everyone", FRIENDS: "Friends", PRIVATE: "Only me" };
const day = new Intl.DateTimeFormat("en", { dateStyle: "long" });

export function Day({ at }: { at: string }) {
  return <time dateTime={at}>{day.format(new Date(at))}</time>;
}

export function Tags({ names }: { names: readonly string[] }) {
  if (names.length === 0) return null;
  return (
    <ul className="tags" aria-label="Tags">
      {names.map((name) => (
        <li key={name}>
          <Link to={tagged(name)} className="tag" current={false}>
            {name}
          </Link>
        </li>
      ))}
    </ul>
  );
}

export function Stories({ stories }: { stories: readonly FragmentType<typeof StoryCard>[] }) {
  return (
    <ol className="stories">
      {readFragment(StoryCard, stories).map((story) => (
        <li key={story.id}>
          <article className="card" aria-labelledby={story.id}>
            <h2 id={story.id}>
              <Link to={at(story.id)}>{story.title}</Link>
            </h2>
            <div className="byline">
              <PersonLink who={story.author} />
              <Day at={story.createdAt} />
              {story.visibility !== "PUBLIC" && <span className="badge">{SEEN_BY[story.visibility]}</span>}
            </div>
            {/* Cut in the middle of a mark, a text shows the mark as it was written. */}
            <Markdown level={3}>{story.excerpt}</Markdown>
            <Tags names={story.tagNames} />
          </article>
        </li>
      ))}
    </ol>
  );
}

/** How many pages were open here. It is kept with the place in the browser's history. */
export function useDepth(): [depth: number, deeper: () => void] {
  const state = window.history.state as { depth?: number } | null;
  const [depth, setDepth] = useState(state?.depth ?? 1);
  const deeper = () => {
    window.history.replaceState({ depth: depth + 1 }, "");
    setDepth(depth + 1);
  };
  return [depth, deeper];
}

type List = {
  nodes: readonly FragmentType<typeof StoryCard>[];
  pageInfo: { endCursor: string | null; hasNextPage: boolean };
};
export type Read = { list: List | undefined; error: CombinedError | undefined; again: () => void };
type PagesProps = {
  usePage: (after: string | null) => Read;
  after?: string;
  depth: number;
  deeper: () => void;
};

/** One page, then the pages behind it: each begins where the one before ends, whatever changes. */
export function Pages({ usePage, after, depth, deeper }: PagesProps) {
  const { list, error, again } = usePage(after ?? null);
  if (!list) return error ? <Failure error={error} again={again} /> : <p className="quiet">Loading…</p>;
  const { endCursor, hasNextPage } = list.pageInfo;
  const end = hasNextPage ? endCursor : null;
  const next = { usePage, depth: depth - 1, deeper };
  return (
    <>
      <Failure error={error} again={again} />
      <Stories stories={list.nodes} />
      {end !== null && (depth > 1 ? <Pages {...next} after={end} /> : <More wanted={deeper} />)}
    </>
  );
}

/** Asks for more as it comes into sight, or when it is pressed. */
function More({ wanted }: { wanted: () => void }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => entry?.isIntersecting && wanted(), {
      rootMargin: "300px",
    });
    if (button.current) seen.observe(button.current);
    return () => seen.disconnect();
  }, [wanted]);
  return (
    <button ref={button} className="more" type="button" onClick={wanted}>
      More stories
    </button>
  );
}
