import { useEffect, useRef, useState, type ReactNode } from "react";
import { useQuery, useSubscription } from "urql";

import { Failure } from "./errors";
import { Feed } from "./Feed";
import { Button } from "./Form";
import { Garden } from "./Garden";
import { graphql, readFragment } from "./gql";
import { Habits } from "./Habits";
import leaf from "./leaf.svg";
import { useConnected } from "./live";
import { Matches } from "./Matches";
import { nameOf, People } from "./People";
import { Person } from "./Person";
import { Profile } from "./Profile";
import { Requests } from "./Requests";
import { BRAND, Link, NotFound, person, signIn, unescaped, useAddress } from "./route";
import { EditStory, Story } from "./Story";
import { ThemeSwitch } from "./theme";
import { Me, SignedIn, ViewerContext, type Viewer } from "./viewer";
import { NewStory } from "./Write";

const MeQuery = graphql(`query Me { viewer { ...Me } }`);

// What it tells goes into the cache, from which the query reads.
const FollowMe = graphql(`subscription FollowMe { viewer { ...Me } }`);

export function App() {
  const [{ data, error }, again] = useQuery({ query: MeQuery });
  const viewer = data && readFragment(Me, data.viewer);
  useSubscription({ query: FollowMe, pause: !viewer });
  return (
    <ViewerContext value={viewer}>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <Header viewer={viewer} />
      <Notices viewer={viewer} />
      <Failure error={error} again={again} />
      <Routes />
    </ViewerContext>
  );
}

function Header({ viewer }: { viewer: Viewer | null | undefined }) {
  const { href, pathname } = useAddress();
  const [isOpen, setOpen] = useState(false);
  const menu = useRef<HTMLButtonElement>(null);
  useEffect(() => setOpen(false), [href]);
  const waiting = viewer?.friendRequests.totalCount ?? 0;
  const close = () => {
    setOpen(false);
    menu.current?.focus();
  };
  return (
    <header onKeyDown={({ key }) => key === "Escape" && isOpen && close()}>
      <Link to="/" className="brand" current={false}>
        <img src={leaf} alt="" width="28" height="28" />
        {BRAND}
      </Link>
      <button
        ref={menu}
        type="button"
        className="menu plain"
        aria-expanded={isOpen}
        aria-controls="pages"
        onClick={() => setOpen(!isOpen)}
      >
        Menu
        {waiting > 0 && <span className="count">{waiting}</span>}
      </button>
      <nav id="pages" aria-label="Pages" className={isOpen ? "open" : ""}>
        <Link to="/" current={pathname === "/"}>
          Stories
        </Link>
        <Link to="/people" current={pathname === "/people"}>
          People
        </Link>
        {viewer && (
          <>
            <Link to="/matches">Matches</Link>
            <Link to="/requests">
              Requests
              {waiting > 0 && <span className="count">{waiting}</span>}
            </Link>
            <Link to="/garden">Garden</Link>
            <Link to="/habits">Habits</Link>
            <span className="grow" />
            <Link to={person(viewer.user.id)} className="me">
              {nameOf(viewer.user)}
            </Link>
            <a href="/auth/logout">Sign out</a>
          </>
        )}
        {!viewer && <span className="grow" />}
        {viewer === null && <a href={signIn()}>Sign in</a>}
        <ThemeSwitch />
      </nav>
    </header>
  );
}

/** What happens while one looks at something else. */
function Notices({ viewer }: { viewer: Viewer | null | undefined }) {
  const { pathname } = useAddress();
  const isConnected = useConnected();
  const known = useRef<ReadonlySet<string>>(null);
  const [arrived, setArrived] = useState<string | null>(null);
  const requests = viewer?.friendRequests.nodes;
  useEffect(() => {
    if (!requests) return;
    const last = requests.find(({ id }) => known.current && !known.current.has(id));
    known.current = new Set(requests.map(({ id }) => id));
    setArrived((before) => {
      if (last) return last.id;
      return requests.some(({ id }) => id === before) ? before : null;
    });
  }, [requests]);
  const request = requests?.find(({ id }) => id === arrived);
  return (
    <div role="status" className="notices">
      {request && pathname !== "/requests" && (
        <p>
          {nameOf(request.who)} would like to be your friend. <Link to="/requests">Answer</Link>
          <Button label="Later" act={() => setArrived(null)} />
        </p>
      )}
      {!isConnected && <p>No connection. What is new will be shown as soon as there is one.</p>}
    </div>
  );
}

/** With the titles that they have for people who are signed out. */
const OWN = new Map<string, [title: string, page: () => ReactNode]>([
  ["garden", ["Garden", Garden]],
  ["habits", ["Habits", Habits]],
  ["matches", ["People who suit you", Matches]],
  ["profile", ["Your profile", Profile]],
  ["requests", ["Requests", Requests]],
  ["write", ["Write a story", NewStory]],
]);

function Routes() {
  const [, first = "", part, action] = useAddress().pathname.split("/");
  if (part === undefined) {
    if (first === "") return <Feed />;
    if (first === "people") return <People />;
    const [title = "", Own] = OWN.get(first) ?? [];
    return Own ? <SignedIn title={title} children={<Own key={first} />} /> : <NotFound />;
  }
  const id = unescaped(part);
  if (first === "people" && id) return <Person key={id} id={id} />;
  if (first === "stories" && id && action === "edit") {
    return <SignedIn title="Edit a story" children={<EditStory key={id} id={id} />} />;
  }
  if (first === "stories" && id) return <Story key={id} id={id} />;
  return <NotFound />;
}
