// What the page asks the server: who may sign in, who is there, and operations.

export interface Person {
  email: string;
  name: string;
  permissions: string[];
}

/** How one signs in here: as anyone in the database, at the provider, or not at all. */
export interface Options {
  signIn: 'people' | 'provider' | null;
  /** The first of those whom the search finds; empty unless `signIn` is `people`. */
  people: Person[];
}

/** A session's requests must carry this, so that no other site can make them. */
const OWN = { 'X-Requested-With': 'explorer' };

export async function options(search = ''): Promise<Options> {
  const response = await fetch(`/auth/options?${new URLSearchParams({ search })}`);
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  return response.json() as Promise<Options>;
}

/** Signs in as someone in the database (development). */
export async function signIn(email: string): Promise<void> {
  const body = new URLSearchParams({ email });
  // A redirect is success: to where does not matter, the page stays.
  const response = await fetch('/auth/login', { method: 'POST', body, redirect: 'manual' });
  if (response.type !== 'opaqueredirect') throw new Error('Signing in did not work.');
}

/** Signs out here (development; the provider's sign-out is a page of its own). */
export async function signOut(): Promise<void> {
  await fetch('/auth/logout', { method: 'POST', redirect: 'manual' });
}

export interface Execution {
  executor: string;
  fallbackReason: string | null;
  statements: number;
  milliseconds: number;
  sql?: string[];
  plans?: string[];
}

export interface Answer {
  data?: unknown;
  errors?: { message: string; extensions?: { code?: string } }[];
  extensions?: { cost?: { requested: number }; execution?: Execution };
}

export async function ask(
  request: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<{ answer: Answer; status: number }> {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      Accept: 'application/graphql-response+json',
      ...OWN,
      ...headers,
    },
    body: JSON.stringify(request),
  });
  return { answer: (await response.json()) as Answer, status: response.status };
}

/** The statements of a query and PostgreSQL's plans of them; it runs once more. Development only. */
export async function explain(
  request: Record<string, unknown>,
  headers: Record<string, string>,
): Promise<{ sql: string[]; plans: string[] }> {
  const { answer } = await ask({ ...request, extensions: { explain: true } }, headers);
  const { sql, plans } = answer.extensions?.execution ?? {};
  if (!sql || !plans) throw new Error(answer.errors?.[0]?.message ?? 'There is no plan.');
  return { sql, plans };
}

const VIEWER = '{ viewer { email permissions user { profile { displayName } } } }';

interface Viewer {
  email: string;
  permissions: string[];
  user: { profile: { displayName: string | null } | null };
}

/** Whoever is signed in, or null. */
export async function viewer(): Promise<Person | null> {
  const { answer } = await ask({ query: VIEWER });
  const found = (answer.data as { viewer: Viewer | null } | undefined)?.viewer;
  if (!found) return null;
  const { email, permissions, user } = found;
  return { email, permissions, name: user.profile?.displayName ?? email };
}
