import '@xyflow/react/dist/style.css';
import '@graphiql/react/font/roboto.css';
import './style.css';
import './map.css';

import {
  Background,
  BaseEdge,
  Controls,
  type Edge,
  type EdgeProps,
  Handle,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
} from '@xyflow/react';
import { type GraphQLSchema, buildClientSchema, getIntrospectionQuery } from 'graphql';
import { useEffect, useMemo, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { ask } from './api';
import { type Box, HEAD, type Line, type Picture, ROW, type Root, picture } from './graph';
import { Header } from './header';
import { People } from './people';
import { type Theme, ThemeButton } from './theme';
import { Types } from './types';

const THEME = 'graphiql:theme'; // where GraphiQL keeps it
const ROOTS: Root[] = ['Query', 'Mutation', 'Subscription'];

async function load(): Promise<GraphQLSchema> {
  const query = getIntrospectionQuery({ inputValueDeprecation: true });
  const { answer } = await ask({ query });
  if (!answer.data) throw new Error(answer.errors?.[0]?.message ?? 'There is no answer.');
  return buildClientSchema(answer.data as never);
}

function SchemaMap() {
  const [schema, setSchema] = useState<GraphQLSchema>();
  const [problem, setProblem] = useState('');
  const [theme, setTheme] = useState((localStorage.getItem(THEME) || null) as Theme);
  const read = () => {
    load().then(setSchema, (error: Error) => setProblem(error.message));
  };
  useEffect(read, []);
  useEffect(() => {
    localStorage.setItem(THEME, theme ?? '');
    document.body.className = theme ? `graphiql-${theme}` : '';
  }, [theme]);
  return (
    <>
      <Header page="schema">
        <ThemeButton theme={theme} setTheme={setTheme} />
        <People onChange={read} />
      </Header>
      <main className="map">
        {schema ? (
          <ReactFlowProvider>
            <Canvas schema={schema} theme={theme} />
          </ReactFlowProvider>
        ) : (
          <p className="map-hint" role="status">
            {problem ? `The schema cannot be read: ${problem} Perhaps after signing in.` : 'Reading the schema …'}
          </p>
        )}
      </main>
    </>
  );
}

const START: Record<Root, string> = {
  Query: 'User',
  Mutation: 'Mutation',
  Subscription: 'Subscription',
};
const MARGIN = 24; // pixels around the box that the picture begins with
const ABOVE = 72; // below the buttons

function Canvas({ schema, theme }: { schema: GraphQLSchema; theme: Theme }) {
  const [root, setRoot] = useState<Root>('Query');
  const [chosen, setChosen] = useState(location.hash.slice(1));
  const [{ boxes, lines }, setPicture] = useState<Picture>({ boxes: [], lines: [] });
  const { setViewport } = useReactFlow();
  const canvas = useRef<HTMLElement>(null);

  useEffect(() => {
    let late = false;
    setPicture({ boxes: [], lines: [] });
    void picture(schema, root).then((found) => late || setPicture(found));
    return () => {
      late = true;
    };
  }, [schema, root]);
  useEffect(() => {
    const follow = () => setChosen(location.hash.slice(1));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  const choose = (name: string) => {
    history.replaceState(null, '', name ? `#${name}` : location.pathname);
    setChosen(name);
  };
  const near = useMemo(() => neighbours(boxes, chosen), [boxes, chosen]);
  const centre = boxes.find(({ name }) => name === chosen) ?? null;
  const first = boxes.find(({ name }) => name === START[root]);
  const shown = centre ?? first;
  useEffect(() => {
    // As large as it is read: the whole is too small on most screens (the controls show it).
    if (!shown || !canvas.current) return;
    const { clientWidth: width, clientHeight: height } = canvas.current;
    const x = Math.max((width - shown.width) / 2, MARGIN) - shown.x;
    const y = Math.max((height - shown.height) / 2, ABOVE) - shown.y;
    void setViewport({ x, y, zoom: 1 }, { duration: centre ? 300 : 0 });
  }, [shown, setViewport]);

  const nodes = boxes.map((box): TypeNode => ({
    id: box.name,
    type: 'box',
    position: { x: box.x, y: box.y },
    width: box.width,
    height: box.height,
    data: { box, faded: near.size > 0 && !near.has(box.name), chosen: box.name === chosen },
    ariaLabel: `Type ${box.name}`,
  }));
  const edges = lines.map((line): LineEdge => {
    const touches = line.source === chosen || line.target === chosen;
    return {
      id: line.id,
      type: 'line',
      source: line.source,
      sourceHandle: line.id.slice(line.source.length + 1),
      target: line.target,
      focusable: false,
      className: !near.size ? '' : touches ? 'near' : 'faded',
      zIndex: touches ? 1 : 0,
      data: { points: line.points },
    };
  });
  return (
    <>
      <Types key={chosen} schema={schema} chosen={chosen} choose={choose} />
      <section className="canvas" ref={canvas} aria-label="Picture of the schema">
        <div className="roots" role="group" aria-label="Start from">
          {ROOTS.map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={each === root}
              onClick={() => {
                choose('');
                setRoot(each);
              }}
            >
              {each}
            </button>
          ))}
        </div>
        {boxes.length === 0 && (
          <p className="map-hint drawing" role="status">
            Drawing the map …
          </p>
        )}
        <ReactFlow
          key={root}
          nodes={nodes}
          edges={edges}
          nodeTypes={NODE_TYPES}
          edgeTypes={EDGE_TYPES}
          colorMode={theme ?? 'system'}
          minZoom={0.1}
          nodesDraggable={false}
          nodesConnectable={false}
          edgesFocusable={false}
          onNodeClick={(_, node) => choose(node.id)}
          onPaneClick={() => choose('')}
          onNodesChange={(changes) => {
            // The keyboard selects: Enter on a box that has the focus.
            const one = changes.find((change) => change.type === 'select' && change.selected);
            if (one?.type === 'select') choose(one.id);
          }}
        >
          <Background gap={24} />
          <Controls position="top-right" showInteractive={false} />
        </ReactFlow>
      </section>
    </>
  );
}

/** The chosen type, what it leads to and what leads to it; nothing when none is chosen. */
function neighbours(all: Box[], chosen: string): Set<string> {
  const found = new Set<string>();
  for (const { name, rows } of all) {
    if (name === chosen) found.add(name);
    for (const { target } of rows) {
      if (name === chosen && target) found.add(target);
      if (target === chosen) found.add(name);
    }
  }
  return found;
}

type TypeNode = Node<{ box: Box; faded: boolean; chosen: boolean }, 'box'>;

const NODE_TYPES = { box: TypeBox };

type LineEdge = Edge<Pick<Line, 'points'>, 'line'>;

const EDGE_TYPES = { line: LineOfPoints };
const ROUND = 6; // pixels of each corner

function LineOfPoints({ id, data }: EdgeProps<LineEdge>) {
  const points = data?.points ?? [];
  const path = points.map((point, index) => {
    const before = points[index - 1];
    const after = points[index + 1];
    if (!before) return `M${point.x} ${point.y}`;
    if (!after) return `L${point.x} ${point.y}`;
    const [from, to] = [towards(point, before), towards(point, after)];
    return `L${from.x} ${from.y}Q${point.x} ${point.y} ${to.x} ${to.y}`;
  });
  return <BaseEdge id={id} path={path.join('')} />;
}

function towards(point: { x: number; y: number }, other: { x: number; y: number }) {
  const length = Math.hypot(other.x - point.x, other.y - point.y) || 1;
  const part = Math.min(ROUND / length, 0.5);
  return { x: point.x + (other.x - point.x) * part, y: point.y + (other.y - point.y) * part };
}

function TypeBox({ data: { box, faded, chosen } }: NodeProps<TypeNode>) {
  const looks = ['box', box.kind, faded && 'faded', chosen && 'chosen'].filter(Boolean).join(' ');
  return (
    <div className={looks}>
      <Handle type="target" position={Position.Left} style={{ top: HEAD / 2 }} />
      <strong style={{ height: HEAD }}>{box.name}</strong>
      {box.rows.map((row, index) => (
        <div key={row.name} className="row" style={{ height: ROW }}>
          <span>{row.name}</span>
          <span className={row.target ? 'leads' : ''}>{row.type}</span>
          {row.target && (
            <Handle
              type="source"
              id={row.name}
              position={Position.Right}
              style={{ top: HEAD + (index + 0.5) * ROW }}
            />
          )}
        </div>
      ))}
    </div>
  );
}

createRoot(document.getElementById('root')!).render(<SchemaMap />);
