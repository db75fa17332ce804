// What came back beside the data, by tab: the bar under the response shows it.

import type { Fetcher } from '@graphiql/toolkit';
import { Kind, OperationTypeNode, getOperationAST, parse } from 'graphql';
import { useSyncExternalStore } from 'react';
import { type Execution, type Person, ask } from './api';
import { type Following, follow } from './live';

export interface Run {
  status: number;
  /** From asking to having read the answer, as this page saw it. */
  milliseconds: number;
  cost: number | null;
  /** Only in development. */
  execution: Execution | null;
  /** Who was signed in when it ran. */
  askedBy: Person | null;
  /** What was sent, to send it again. */
  request: Record<string, unknown>;
  headers: Record<string, string>;
  /** Whether it may be sent again without changing anything. */
  isQuery: boolean;
  /** Where the next page begins, if the answer has one list with pages and there is a next one. */
  next: string | null;
}

const runs = new Map<string, Run | Following>();
const listeners = new Set<() => void>();
let activeTab = '';
let signedIn: Person | null = null;

/** Told by a component: a fetcher is not told which tab it runs for. */
export function setActiveTab(id: string): void {
  activeTab = id;
}

/** Told by the menu of people: an answer stays after somebody else has signed in. */
export function setSignedIn(person: Person | null): void {
  signedIn = person;
  listeners.forEach((changed) => changed());
}

export function useSignedIn(): Person | null {
  return useSyncExternalStore(subscribe, () => signedIn);
}

/** What the last run of a tab took; of a subscription how it stands. */
export function useRun(tab: string): Run | Following | undefined {
  return useSyncExternalStore(subscribe, () => runs.get(tab));
}

function subscribe(changed: () => void): () => void {
  listeners.add(changed);
  return () => listeners.delete(changed);
}

function record(tab: string, run: Run | Following | undefined): void {
  if (run) runs.set(tab, run);
  else runs.delete(tab);
  listeners.forEach((changed) => changed());
}

/**
 * The operation to run: `name`, unless the text has no such operation and only one other.
 *
 * GraphiQL notices the operation of another tab a moment after the tab has changed, so a quick
 * click on Run comes with the name of the tab before.
 */
function operationIn(text: string, name: string | null | undefined): string | null | undefined {
  let names: (string | undefined)[];
  try {
    names = parse(text).definitions.flatMap((node) =>
      node.kind === Kind.OPERATION_DEFINITION ? [node.name?.value] : [],
    );
  } catch {
    return name; // the server says what is wrong with the text
  }
  return names.length === 1 && !names.includes(name ?? undefined) ? names[0] : name;
}

/** The cursor for `$after`: only where it is clear which list is meant. */
function nextPage(data: unknown, query: string): string | null {
  if (!/\$after\s*:/.test(query)) return null;
  const found: { hasNextPage?: boolean; endCursor?: string | null }[] = [];
  const look = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [name, inner] of Object.entries(value)) {
      if (name === 'pageInfo') found.push(inner as (typeof found)[number]);
      else look(inner);
    }
  };
  look(data);
  const [info] = found;
  return found.length === 1 && info?.hasNextPage ? (info.endCursor ?? null) : null;
}

function kindOf(text: string, name: string | null | undefined): OperationTypeNode | undefined {
  try {
    return getOperationAST(parse(text), name)?.operation;
  } catch {
    return undefined;
  }
}

export const fetcher: Fetcher = async ({ query, operationName: wanted, variables }, given) => {
  const headers = given?.headers as Record<string, string> | undefined;
  const operationName = operationIn(query, wanted);
  const request = { query, operationName, variables };
  if (operationName === 'IntrospectionQuery') return (await ask(request, headers)).answer as never;
  const tab = activeTab;
  if (kindOf(query, operationName) === OperationTypeNode.SUBSCRIPTION) {
    record(tab, 'following');
    const become = (state: Following) => record(tab, state);
    return follow({ ...request, operationName: operationName ?? null }, headers ?? {}, become) as never;
  }
  record(tab, undefined);
  const askedBy = signedIn;
  const start = performance.now();
  // Only development gives the texts; production ignores the wish.
  const { answer, status } = await ask({ ...request, extensions: { sql: true } }, headers);
  const milliseconds = performance.now() - start;
  const execution = answer.extensions?.execution ?? null;
  record(tab, {
    status,
    milliseconds,
    cost: answer.extensions?.cost?.requested ?? null,
    execution: execution && { ...execution },
    askedBy,
    request,
    headers: headers ?? {},
    isQuery: kindOf(query, operationName) === OperationTypeNode.QUERY,
    next: nextPage(answer.data, query),
  });
  delete answer.extensions; // the bar shows them
  return answer as never;
};
