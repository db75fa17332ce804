// The schema as boxes and lines: the types that can be reached from a root, laid out.
// What only carries other types is left out: a field that gives pages of stories, or the payload of
// a mutation that writes one, leads to Story.

import Elk, { type ElkExtendedEdge, type ElkNode } from 'elkjs/lib/elk-api';
import ElkWorker from 'elkjs/lib/elk-worker.min?worker';
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
const WIDTH = 260;
const FOOT = 6;

export type Root = 'Query' | 'Mutation' | 'Subscription';

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

/** The boxes of everything that `root` leads to, not yet in their places. */
function boxes(schema: GraphQLSchema, root: Root): Box[] {
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
  return [...found.values()];
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

export interface Line {
  id: string;
  source: string;
  target: string;
  /** The corners of its way around the boxes, from the row to the head of the target. */
  points: { x: number; y: number }[];
}

export interface Picture {
  boxes: Box[];
  lines: Line[];
}

const OPTIONS = {
  'elk.algorithm': 'layered',
  'elk.direction': 'RIGHT',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.spacing.nodeNode': '32',
  'elk.spacing.edgeNode': '14',
  'elk.spacing.edgeEdge': '8',
  'elk.layered.spacing.nodeNodeBetweenLayers': '70',
  'elk.layered.spacing.edgeNodeBetweenLayers': '18',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '7',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
};

/** Everything that `root` leads to, laid out: no line crosses a box. In a worker. */
export async function picture(schema: GraphQLSchema, root: Root): Promise<Picture> {
  const all = boxes(schema, root);
  const elk = new Elk({ workerFactory: () => new ElkWorker() });
  try {
    const laidOut: ElkNode = await elk.layout({
      id: root,
      layoutOptions: OPTIONS,
      children: all.map(({ name, rows, width, height }) => ({
        id: name,
        width,
        height,
        layoutOptions: { 'elk.portConstraints': 'FIXED_POS' },
        ports: [
          { id: `${name}:in`, x: 0, y: HEAD / 2 },
          ...rows.flatMap((row, index) =>
            row.target ? [{ id: `${name}.${row.name}`, x: width, y: HEAD + (index + 0.5) * ROW }] : [],
          ),
        ],
      })),
      edges: all.flatMap(({ name, rows }) =>
        rows.flatMap((row) =>
          row.target
            ? [{ id: `${name}.${row.name}`, sources: [`${name}.${row.name}`], targets: [`${row.target}:in`] }]
            : [],
        ),
      ),
    });
    const places = new Map(laidOut.children?.map((node) => [node.id, node]));
    return {
      boxes: all.map((box) => {
        const { x = 0, y = 0 } = places.get(box.name) ?? {};
        return { ...box, x, y };
      }),
      lines: (laidOut.edges ?? []).map(({ id, targets, sections }: ElkExtendedEdge) => ({
        id,
        source: id.split('.')[0]!,
        target: targets[0]!.replace(/:in$/, ''),
        points: (sections ?? []).flatMap(({ startPoint, bendPoints = [], endPoint }) => [
          startPoint,
          ...bendPoints,
          endPoint,
        ]),
      })),
    };
  } finally {
    elk.terminateWorker();
  }
}
