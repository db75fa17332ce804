// The schema as boxes and lines: the types that can be reached from a root, laid out.
// What only carries other types is left out: a field that gives pages of stories, or the payload of
// a mutation that writes one, leads to Story.

import { Graph, layout } from '@dagrejs/dagre';
import {
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  getNamedType,
  isInterfaceType,
  isObjectType,
} from 'graphql';

export const ROW = 24; // pixels, as in map.css
export const HEAD = 36;
const WIDTH = 250;
const FOOT = 6;

export type Root = 'Query' | 'Mutation';

export interface Row {
  name: string;
  type: string;
  /** The box it leads to, if it leads to one. */
  target: string | null;
}

export interface Box {
  name: string;
  kind: 'root' | 'interface' | 'type';
  rows: Row[];
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The boxes of everything that `root` leads to. */
export function boxes(schema: GraphQLSchema, root: Root): Box[] {
  const found = new Map<string, Box>();
  const waiting = [schema.getType(root)];
  while (waiting.length > 0) {
    const type = waiting.shift();
    if (!type || found.has(type.name) || !hasFields(type)) continue;
    const rows = Object.values(type.getFields()).map((field) => row(field));
    found.set(type.name, {
      name: type.name,
      kind: kindOf(type, root),
      rows,
      x: 0,
      y: 0,
      width: type.name === 'Mutation' ? 1.4 * WIDTH : WIDTH, // long names
      height: HEAD + rows.length * ROW + FOOT,
    });
    waiting.push(...rows.map(({ target }) => schema.getType(target ?? '')));
  }
  return place([...found.values()]);
}

/** What a field is about: its type, or what the type is there to carry. */
function about(field: GraphQLField<unknown, unknown>): GraphQLNamedType {
  const type = getNamedType(field.type);
  if (!isObjectType(type)) return type;
  const { pageInfo, nodes, userErrors, query, ...others } = type.getFields();
  if (pageInfo && nodes) return getNamedType(nodes.type);
  if (userErrors) return getNamedType(Object.values(others)[0]?.type ?? userErrors.type);
  return type;
}

function hasFields(type: GraphQLNamedType) {
  return isObjectType(type) || isInterfaceType(type);
}

function row(field: GraphQLField<unknown, unknown>): Row {
  const target = about(field);
  const paged = getNamedType(field.type).name.endsWith('Connection');
  return {
    name: field.name,
    type: paged ? `${target.name}, paged` : field.type.toString(),
    target: hasFields(target) ? target.name : null,
  };
}

function kindOf(type: GraphQLNamedType, root: Root): Box['kind'] {
  if (type.name === root) return 'root';
  return isInterfaceType(type) ? 'interface' : 'type';
}

function place(all: Box[]): Box[] {
  const graph = new Graph();
  graph.setGraph({ rankdir: 'LR', nodesep: 24, ranksep: 90 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { name, width, height } of all) graph.setNode(name, { width, height });
  for (const { name, rows } of all) {
    for (const { target } of rows) if (target && target !== name) graph.setEdge(name, target);
  }
  layout(graph);
  return all.map((box) => {
    const { x, y } = graph.node(box.name) as { x: number; y: number };
    return { ...box, x: x - box.width / 2, y: y - box.height / 2 };
  });
}
