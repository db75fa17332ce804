import { useSyncExternalStore, type MouseEvent, type ReactNode } from "react";

const MOVED = "moved";

function listen(changed: () => void) {
  for (const event of ["popstate", MOVED]) window.addEventListener(event, changed);
  return () => {
    for (const event of ["popstate", MOVED]) window.removeEventListener(event, changed);
  };
}

export function usePath(): string {
  return useSyncExternalStore(listen, () => window.location.pathname);
}

export function go(path: string) {
  window.history.pushState(null, "", path);
  window.dispatchEvent(new Event(MOVED));
  window.scrollTo(0, 0);
}

export const person = (id: string) => `/people/${encodeURIComponent(id)}`;

export function Link({ to, children }: { to: string; children: ReactNode }) {
  const here = usePath() === to;
  const follow = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return (
    <a href={to} onClick={follow} aria-current={here ? "page" : undefined}>
      {children}
    </a>
  );
}
