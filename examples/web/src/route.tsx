import { useEffect, useRef, useSyncExternalStore, type MouseEvent, type ReactNode } from "react";

export const BRAND = "Community";
const MOVED = "moved";
let moves = 0;

function listen(changed: () => void) {
  for (const event of ["popstate", MOVED]) window.addEventListener(event, changed);
  return () => {
    for (const event of ["popstate", MOVED]) window.removeEventListener(event, changed);
  };
}

/** Path and query of the page that is shown. */
export function useAddress(): URL {
  const href = useSyncExternalStore(listen, () => window.location.href);
  return new URL(href);
}

export function go(to: string) {
  moves += 1;
  window.history.pushState(null, "", to);
  window.dispatchEvent(new Event(MOVED));
  window.scrollTo(0, 0);
}

export const person = (id: string) => `/people/${encodeURIComponent(id)}`;
export const story = (id: string) => `/stories/${encodeURIComponent(id)}`;
export const tagged = (name: string) => `/?tag=${encodeURIComponent(name)}`;
/** A part of an address; empty if nobody can read it. */
export function unescaped(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

/** Where signing in leads back to the page that is shown. */
export const signIn = () =>
  `/auth/login?next=${encodeURIComponent(window.location.pathname + window.location.search)}`;

type LinkProps = { to: string; className?: string; current?: boolean; children: ReactNode };

export function Link({ to, className, current, children }: LinkProps) {
  const { pathname, search } = useAddress();
  const here = current ?? pathname + search === to;
  const follow = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return (
    <a href={to} className={className} onClick={follow} aria-current={here ? "page" : undefined}>
      {children}
    </a>
  );
}

/** A page: its title, also of the window, is what a screen reader reads out on arriving. */
export function Page(props: { title: string; aside?: ReactNode; children: ReactNode }) {
  const heading = useRef<HTMLHeadingElement>(null);
  const { pathname } = useAddress();
  useEffect(() => {
    document.title = `${props.title} · ${BRAND}`;
  }, [props.title]);
  useEffect(() => {
    if (moves > 0) heading.current?.focus({ preventScroll: true });
  }, [pathname]);
  return (
    <main id="main">
      <div className="title">
        <h1 ref={heading} tabIndex={-1}>
          {props.title}
        </h1>
        {props.aside}
      </div>
      {props.children}
    </main>
  );
}

/** What does not exist and what the viewer may not see look alike: nobody can tell. */
export function NotFound({ what = "page" }: { what?: string }) {
  return (
    <Page title="Nothing here">
      <div className="card">
        <p>
          There is no such {what}, or it is not for you to see. <Link to="/">See the newest stories</Link>
        </p>
      </div>
    </Page>
  );
}
