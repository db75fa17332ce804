// Subscriptions, over a socket of their own: what they tell, as GraphiQL reads it.

import { type SubscribePayload, createClient } from 'graphql-ws';

/** So many events are shown, the newest first. */
const SHOWN = 50;
/** The code of a socket whose token or session is no good any more: coming back with it is no use. */
const FORBIDDEN = 4403;

interface Shown {
  events: object[];
}

/**
 * Follows a subscription until `return` is called. A new socket is opened each time: it is the
 * session's of whoever is signed in now.
 */
export function follow(
  request: SubscribePayload,
  headers: Record<string, string> = {},
): AsyncIterableIterator<Shown> {
  const client = createClient({
    url: `${location.origin.replace(/^http/, 'ws')}/graphql`,
    connectionParams: headers,
    retryAttempts: Infinity,
    shouldRetry: (problem) => problem instanceof CloseEvent && problem.code !== FORBIDDEN,
  });
  const told = client.iterate(request);
  const events: object[] = [];
  const end = async () => {
    await told.return?.();
    await client.dispose();
    return { done: true as const, value: undefined };
  };
  return {
    async next() {
      const { done, value } = await told.next().catch((error: unknown) => {
        throw readable(error);
      });
      if (done) return end();
      const { extensions: _, ...event } = value; // how it was made
      events.unshift({ at: new Date().toLocaleTimeString(), ...event });
      events.splice(SHOWN);
      return { done: false, value: { events: [...events] } };
    },
    return: end,
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The errors of a refused operation, or why the socket was closed for good. */
function readable(error: unknown): unknown {
  if (error instanceof CloseEvent) return new Error(`${error.reason} (${error.code})`);
  if (Array.isArray(error)) return new Error(error.map(({ message }) => message).join('\n'));
  return error;
}
