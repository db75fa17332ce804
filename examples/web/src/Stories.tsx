import { useEffect, useRef } from "react";

import { graphql, readFragment, type FragmentType } from "./gql";
import { Link, person } from "./route";

export const StoryCard = graphql(`
  fragment StoryCard on Story {
    id
    title
    excerpt(length: 240)
    visibility
    tagNames
    createdAt
    author {
      id
      profile {
        displayName
      }
    }
  }
`);

const SEEN_BY = { PUBLIC: "Public", FRIENDS: "For friends", PRIVATE: "Only me" };
const day = new Intl.DateTimeFormat("en", { dateStyle: "long" });

export function Stories({ stories }: { stories: readonly FragmentType<typeof StoryCard>[] }) {
  const cards = readFragment(StoryCard, stories);
  if (cards.length === 0) return <p className="quiet">No stories yet.</p>;
  return (
    <ol className="stories">
      {cards.map((story) => (
        <li key={story.id}>
          <article className="card" aria-labelledby={story.id}>
            <h2 id={story.id}>{story.title}</h2>
            <p className="quiet">
              <Link to={person(story.author.id)}>
                {story.author.profile?.displayName ?? "Someone"}
              </Link>
              {" · "}
              <time dateTime={story.createdAt}>{day.format(new Date(story.createdAt))}</time>
              {" · "}
              {SEEN_BY[story.visibility]}
            </p>
            <p>{story.excerpt}</p>
            <p className="tags">
              {story.tagNames.map((name) => (
                <span key={name}>{name}</span>
              ))}
            </p>
          </article>
        </li>
      ))}
    </ol>
  );
}

/** Asks for more as it comes into sight, or when it is pressed. */
export function More({ wanted, busy }: { wanted: () => void; busy: boolean }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (busy || !button.current) return;
    const seen = new IntersectionObserver(
      ([entry]) => entry?.isIntersecting && wanted(),
      { rootMargin: "300px" },
    );
    seen.observe(button.current);
    return () => seen.disconnect();
  }, [busy, wanted]);
  return (
    <button ref={button} className="more" type="button" disabled={busy} onClick={wanted}>
      {busy ? "Loading…" : "More stories"}
    </button>
  );
}
