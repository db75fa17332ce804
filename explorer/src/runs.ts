// What came back beside the data, by tab: the bar under the response shows it.

import type { Fetcher } from '@graphiql/toolkit';
import { useSyncExternalStore } from 'react';
import { type Execution, ask } from './api';

export interface Run {
  status: number;
  /** From asking to having read the answer, as this page saw it. */
  milliseconds: number;
  cost: number | null;
  /** Only in development. */
  execution: Execution | null;
}

const runs = new Map<string, Run>();
const listeners = new Set<() => void>();
let activeTab = '';

/** Told by a component: a fetcher is not told which tab it runs for. */
export function setActiveTab(id: string): void {
  activeTab = id;
}

export function useRun(tab: string): Run | undefined {
  return useSyncExternalStore(
    (changed) => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    () => runs.get(tab),
  );
}

function record(tab: string, run: Run | undefined): void {
  if (run) runs.set(tab, run);
  else runs.delete(tab);
  listeners.forEach((changed) => changed());
}

export const fetcher: Fetcher = async ({ query, operationName, variables }, given) => {
  const headers = given?.headers as Record<string, string> | undefined;
  const request = { query, operationName, variables };
  if (operationName === 'IntrospectionQuery') return (await ask(request, headers)).answer as never;
  const tab = activeTab;
  record(tab, undefined);
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
  });
  delete execution?.sql; // it has a view of its own
  return answer as never;
};
