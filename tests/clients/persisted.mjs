// Asks the same twice by Apollo and by urql with automatic persisted queries; prints what they sent.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { Client, fetchExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { createHash } from "node:crypto";

const [url, client, method] = process.argv.slice(2);
const sha256 = async (text) => createHash("sha256").update(text).digest("hex");
const document = gql`
  query ${client === "apollo" ? "ByApollo" : "ByUrql"}${method} {
    users(first: 1) {
      totalCount
    }
  }
`;

const sent = [];
async function noted(address, options) {
  const { searchParams } = new URL(address);
  const members = options.method === "GET" ? Object.fromEntries(searchParams) : JSON.parse(options.body);
  const response = await fetch(address, options);
  const how = members.query ? (members.extensions ? "both" : "text") : "hash";
  sent.push(`${options.method} ${how} ${response.status}`);
  return response;
}

const apollo = () => {
  const made = new ApolloClient({
    cache: new InMemoryCache(),
    link: ApolloLink.from([
      new PersistedQueryLink({ sha256, useGETForHashedQueries: method === "GET" }),
      new HttpLink({ uri: url, fetch: noted }),
    ]),
  });
  return async () => (await made.query({ query: document, fetchPolicy: "network-only" })).data;
};

const urql = () => {
  const made = new Client({
    url,
    fetch: noted,
    preferGetMethod: false,
    exchanges: [
      persistedExchange({
        preferGetForPersistedQueries: method === "GET" ? "force" : false,
      }),
      fetchExchange,
    ],
  });
  return async () => {
    const { data, error } = await made.query(document, {}).toPromise();
    if (error) throw error;
    return data;
  };
};

const ask = { apollo, urql }[client]();
const counts = [await ask(), await ask()].map((data) => typeof data.users.totalCount);
console.log(JSON.stringify({ sent, counts }));
