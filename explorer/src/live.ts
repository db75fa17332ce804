// Subscriptions, over a socket of their own: what they tell, as GraphiQL reads it.

import { type SubscribePayload, createClient } from 'graphql-ws';

/** So many events are shown, the newest first. */
const SHOWN = 50;
/** The code of a socket whose token or session is no good any more: coming back with it is no use. */
const FORBIDDEN = 4403;

interface Shown {
  events: object[];
}

/** A subscription's state: told of what happens, on its way back to the server, or over. */
export type Following = 'following' | 'returning' | 'ended';

/**
 * Follows a subscription until `return` is called. A new socket is opened each time: it is the
 * session's of whoever is signed in now. After a cut it goes on by itself, after the last `moment`
 * that it was told if the operation takes `$after`.
 */
export function follow(
  request: SubscribePayload,
  headers: Record<string, string>,
  become: (state: Following) => void,
): AsyncIterableIterator<Shown> {
  let isOver = false;
  const state = (now: Following) => {
    if (!isOver) become(now);
    isOver ||= now === 'ended';
  };
  const client = createClient({
    url: `${location.origin.replace(/^http/, 'ws')}/graphql`,
    connectionParams: headers,
    retryAttempts: Infinity,
    retryWait: (tries) => pause(Math.min(500 * 2 ** tries, 5_000) * (0.75 + Math.random() / 2)),
    // A server that is not there yet is no CloseEvent: the socket has an error first.
    shouldRetry: (problem) => !(problem instanceof CloseEvent && problem.code === FORBIDDEN),
    on: { connected: () => state('following'), closed: () => state('returning') },
  });
  // Sent as it then is, each time that a socket is opened.
  const variables = { ...request.variables };
  const told = client.iterate({ ...request, variables });
  const events: object[] = [];
  const end = async () => {
    state('ended');
    await told.return?.();
    // On its way back it has no socket to close, and says so by an error.
    Promise.resolve(client.dispose()).catch(() => undefined);
    return { done: true as const, value: undefined };
  };
  return {
    async next() {
      const { done, value } = await told.next().catch((error: unknown) => {
        state('ended');
        throw readable(error);
      });
      if (done) return end();
      const { extensions: _, ...event } = value; // how it was made
      variables['after'] = momentOf(event.data) ?? variables['after'];
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

/** The `moment` of the one field of a subscription, if it was asked for. */
function momentOf(data: object | null | undefined): string | undefined {
  const [root] = Object.values(data ?? {}) as ({ moment?: string } | null)[];
  return root?.moment;
}

const pause = (milliseconds: number) => new Promise<void>((done) => setTimeout(done, milliseconds));
