import '@xyflow/react/dist/style.css';
import '@graphiql/react/font/roboto.css';
import './style.css';
import './map.css';

import {
  Background,
  Controls,
  type Edge,
  type FitViewOptions,
  Handle,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
} from '@xyflow/react';
import { type GraphQLSchema, buildClientSchema, getIntrospectionQuery } from 'graphql';
import { useEffect, useMemo, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { ask } from './api';
import { type Box, HEAD, ROW, type Root, boxes } from './graph';
import { Header } from './header';
import { People } from './people';
import { type Theme, ThemeButton } from './theme';
import { Types } from './types';

const THEME = 'graphiql:theme'; // where GraphiQL keeps it
const ROOTS: Root[] = ['Query', 'Mutation'];

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
            <Picture schema={schema} theme={theme} />
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

function Picture({ schema, theme }: { schema: GraphQLSchema; theme: Theme }) {
  const [root, setRoot] = useState<Root>('Query');
  const [chosen, setChosen] = useState(location.hash.slice(1));
  const all = useMemo(() => boxes(schema, root), [schema, root]);
  const { fitView } = useReactFlow();

  useEffect(() => {
    const follow = () => setChosen(location.hash.slice(1));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  const choose = (name: string) => {
    history.replaceState(null, '', name ? `#${name}` : location.pathname);
    setChosen(name);
  };
  const near = useMemo(() => neighbours(all, chosen), [all, chosen]);
  const view = useMemo((): FitViewOptions => {
    const nodes = [...near].map((id) => ({ id }));
    const padding = { top: '64px', x: '24px', bottom: '24px' } as const; // below the buttons
    return { ...(near.size && { nodes }), maxZoom: 1, padding, duration: 300 };
  }, [near]);
  useEffect(() => void fitView(view), [view, fitView]);

  const nodes = all.map((box): TypeNode => ({
    id: box.name,
    type: 'box',
    position: { x: box.x, y: box.y },
    width: box.width,
    height: box.height,
    data: { box, faded: near.size > 0 && !near.has(box.name), chosen: box.name === chosen },
    ariaLabel: `Type ${box.name}`,
  }));
  const edges = all.flatMap(({ name, rows }) =>
    rows.flatMap((row): Edge[] => {
      if (!row.target) return [];
      const touches = name === chosen || row.target === chosen;
      return [
        {
          id: `${name}.${row.name}`,
          source: name,
          sourceHandle: row.name,
          target: row.target,
          focusable: false,
          className: !near.size ? '' : touches ? 'near' : 'faded',
        },
      ];
    }),
  );
  return (
    <>
      <Types key={chosen} schema={schema} chosen={chosen} choose={choose} />
      <section className="canvas" aria-label="Picture of the schema">
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
        <ReactFlow
          key={root}
          nodes={nodes}
          edges={edges}
          nodeTypes={NODE_TYPES}
          colorMode={theme ?? 'system'}
          minZoom={0.1}
          fitView
          fitViewOptions={view}
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
          <Controls showInteractive={false} />
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
