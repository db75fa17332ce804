// Loaded only when someone looks at SQL: laying it out, its parts, and what a plan did.

import { formatDialect, postgresql } from 'sql-formatter';

export function pretty(text: string): string {
  try {
    return formatDialect(text, { dialect: postgresql, keywordCase: 'upper', expressionWidth: 80 });
  } catch {
    return text; // what the formatter cannot read is still the statement that ran
  }
}

export interface Part {
  text: string;
  kind: 'keyword' | 'string' | 'number' | 'value' | 'comment' | '';
}

const PARTS =
  /(?<comment>--[^\n]*)|(?<string>'(?:[^']|'')*')|(?<value>\$\d+)|(?<number>\b\d+(?:\.\d+)?\b)|(?<keyword>\b[A-Z]{2,}\b)/g;

/** The statement as laid out, in parts that are coloured alike. */
export function parts(text: string): Part[] {
  const found: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(PARTS)) {
    if (match.index > end) found.push({ text: text.slice(end, match.index), kind: '' });
    const [kind] = Object.entries(match.groups!).find(([, part]) => part !== undefined)!;
    found.push({ text: match[0], kind: kind as Part['kind'] });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end), kind: '' });
  return found;
}

/** In a line: what the statement does, and with which tables. */
export function outline(text: string): string {
  const verb = /\b(INSERT|UPDATE|DELETE|SELECT|WITH)\b/i.exec(text)?.[1]?.toUpperCase() ?? '';
  const tables = [...text.matchAll(/\b(?:FROM|JOIN|INTO|UPDATE)\s+([a-z_]{2,})\b/gi)].map(
    ([, table]) => table!,
  );
  const names = [...new Set(tables)].filter((name) => !/^(lateral|select|only|set)$/i.test(name));
  const does = { INSERT: 'Writes', UPDATE: 'Changes', DELETE: 'Removes' }[verb] ?? 'Reads';
  return names.length ? `${does} ${names.join(', ')}` : does;
}

/** What a plan says of itself first: how long it took, and the tables it read whole or by index. */
export function reads(plan: string): string[] {
  const time = (name: string) => new RegExp(`${name} Time: ([\\d.]+ ms)`).exec(plan)?.[1];
  const scans = [
    ...plan.matchAll(
      /(Seq Scan|Index Only Scan|(?<!Bitmap )Index Scan|Bitmap Heap Scan)(?: Backward)?(?: using (\S+))? on (\w+).*?actual time=[\d.]+\.\.([\d.]+) rows=([\d.]+) loops=(\d+)/g,
    ),
  ];
  return [
    `${time('Execution') ?? '?'} to run, ${time('Planning') ?? '?'} to plan`,
    ...scans.map(([, way, index, table, milliseconds, rows, loops]) => {
      const how = way === 'Seq Scan' ? 'the whole table' : index ? `by ${index}` : 'by an index';
      // PostgreSQL gives the mean of what a part did when it ran several times.
      const times = loops === '1' ? '' : `, each of ${loops} times`;
      const count = Number(rows) === 1 ? '1 row' : `${Number(rows)} rows`;
      return `${table}: ${how}, ${count} in ${milliseconds} ms${times}`;
    }),
  ];
}
