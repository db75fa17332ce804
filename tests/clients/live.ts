// Follows the stories with each of the named clients and prints what each is told, one JSON per line.
//
//   jiti live.ts URL TOKEN_FILE MOMENT CLIENT...
//
// The token is read from the file whenever a client connects.
import { ApolloClient, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { Client, subscriptionExchange } from "@urql/core";
import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import relayRuntime from "relay-runtime";
import { WebSocket } from "ws";

import { resuming } from "./resuming";

const [url, tokenFile, moment, ...names] = process.argv.slice(2) as [string, string, string];
const text = `subscription Follow($after: String) {
  stories(after: $after) { kind story { title } moment }
}`;
const variables = { after: moment };
const authorization = () => `Bearer ${readFileSync(tokenFile, "utf8")}`;
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

function socket(name: string) {
  return createWs({
    url: url.replace("http", "ws"),
    webSocketImpl: WebSocket,
    connectionParams: () => ({ authorization: authorization() }),
    retryAttempts: Infinity,
    shouldRetry: () => true,
    retryWait: () => sleep(200),
    on: {
      connected: () => say({ name, connected: true }),
      closed: (event) => say({ name, closed: (event as { code: number }).code }),
    },
  });
}

function sink(name: string) {
  return {
    next: (result: any) => {
      const change = result.data?.stories;
      say(change ? { name, kind: change.kind, title: change.story?.title } : { name, result });
    },
    error: (error: unknown) => say({ name, error: String((error as any)?.message ?? error) }),
    complete: () => say({ name, complete: true }),
  };
}

const clients: Record<string, () => void> = {
  "graphql-ws"() {
    resuming(socket("graphql-ws"))({ query: text, variables }, sink("graphql-ws"));
  },
  "graphql-sse"() {
    const name = "graphql-sse";
    const client = createSse({
      url,
      headers: () => ({ authorization: authorization() }),
      retryAttempts: Infinity,
      retry: () => sleep(200),
      on: { connected: () => say({ name, connected: true }) },
    });
    resuming(client)({ query: text, variables }, sink(name));
  },
  urql() {
    const subscribe = resuming(socket("urql"));
    const client = new Client({
      url,
      preferGetMethod: false,
      exchanges: [
        subscriptionExchange({
          forwardSubscription: (request) => ({
            subscribe: (to) => ({
              unsubscribe: subscribe({ ...request, query: request.query ?? "" }, to as any),
            }),
          }),
        }),
      ],
    });
    client.subscription(text, variables).subscribe(sink("urql").next);
  },
  apollo() {
    const client = socket("apollo");
    const link = new GraphQLWsLink({ ...client, subscribe: resuming(client) });
    const apollo = new ApolloClient({ cache: new InMemoryCache(), link });
    apollo.subscribe({ query: gql(text), variables }).subscribe(sink("apollo"));
  },
  async relay() {
    const { Environment, Network, Observable, RecordSource, Store } = relayRuntime;
    const artifact = (await import("./__generated__/FollowSubscription.graphql")).default;
    const subscribe = resuming(socket("relay"));
    const environment = new Environment({
      network: Network.create(
        () => Promise.reject(new Error("no queries here")),
        (params, given) =>
          Observable.create<any>((to) =>
            subscribe({ operationName: params.name, query: params.text ?? "", variables: given }, to as any),
          ),
      ),
      store: new Store(new RecordSource()),
    });
    const { next, error } = sink("relay");
    relayRuntime.requestSubscription(environment, {
      subscription: artifact,
      variables,
      onNext: (data: any) => next({ data }),
      onError: error,
    });
  },
};

for (const name of names) clients[name]!();
