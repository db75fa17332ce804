import { createClient, type Client } from "graphql-ws";
import { useSyncExternalStore } from "react";

type Subscribe = Client["subscribe"];

/** `subscribe` of a client, which goes on after its last event when it has to connect again. */
export function resuming(client: Pick<Client, "subscribe">): Subscribe {
  return (request, sink) => {
    const variables = { ...request.variables };
    return client.subscribe<never, never>(
      { ...request, variables },
      {
        ...sink,
        next(result) {
          const moment = momentOf(result.data);
          if (moment !== null) variables["after"] = moment;
          sink.next(result);
        },
      },
    );
  };
}

/** The `moment` that the one field of a subscription was asked for; null if it was not. */
function momentOf(data: object | null | undefined): string | null {
  const root: unknown = Object.values(data ?? {})[0];
  if (typeof root !== "object" || root === null || !("moment" in root)) return null;
  return typeof root.moment === "string" ? root.moment : null;
}

/** One socket for all subscriptions. The browser sends the session's cookie along. */
const socket = createClient({
  url: `${window.location.origin.replace(/^http/, "ws")}/graphql`,
  retryAttempts: Infinity,
  shouldRetry: () => true,
});

export const follow = resuming(socket);

let connected = true;
const listeners = new Set<() => void>();

function become(now: boolean) {
  connected = now;
  for (const told of listeners) told();
}

socket.on("connected", () => become(true));
// 1000: nobody listens any more, so the socket was closed by ourselves.
socket.on("closed", (event) => become(event instanceof CloseEvent && event.code === 1000));

/** Whether what changes is told at this time. */
export function useConnected(): boolean {
  return useSyncExternalStore(
    (told) => {
      listeners.add(told);
      return () => listeners.delete(told);
    },
    () => connected,
  );
}
