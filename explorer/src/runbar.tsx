import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useState } from 'react';
import type { Execution } from './api';
import { Statements } from './statements';
import { Icon } from './icons';
import { setActiveTab, useRun, useSignedIn } from './runs';

/** What the answer took: cost and duration, and in development the statements that ran. */
export function RunBar() {
  const tab = useGraphiQL((state) => state.tabs[state.activeTabIndex]?.id ?? '');
  setActiveTab(tab);
  const run = useRun(tab);
  const signedIn = useSignedIn();
  const [open, setOpen] = useState(false);
  if (!run) {
    return <p className="run-hint">Run the operation to see what it costs and how long it takes.</p>;
  }
  if (run === 'following') {
    return (
      <p className="run-hint">
        A subscription: events are shown as they come, the newest first. Press the button again to
        stop.
      </p>
    );
  }
  if (run === 'returning') {
    return (
      <p className="run-hint" role="status">
        No connection. The subscription goes on by itself as soon as there is one. Press the button
        again to stop.
      </p>
    );
  }
  if (run === 'ended') {
    return (
      <p className="run-hint" role="status">
        The subscription has ended. It ends whenever you go to another tab: to write meanwhile, open a
        second window.
      </p>
    );
  }
  const { execution, cost } = run;
  const statements = execution?.sql ?? [];
  return (
    <div className="run">
      {run.askedBy?.email !== signedIn?.email && (
        <p className="stale" role="status">
          Asked as {run.askedBy?.name ?? 'nobody (signed out)'}. Run it again to see it as{' '}
          {signedIn?.name ?? 'a stranger'}.
        </p>
      )}
      <dl>
        <Fact name="Status">{run.status}</Fact>
        {cost !== null && <Fact name="Cost">{cost.toLocaleString('en')}</Fact>}
        <Fact name="Time">{run.milliseconds.toFixed(0)} ms</Fact>
        {execution && <Fact name="Server">{execution.milliseconds} ms</Fact>}
        {execution && <Fact name="SQL">{ran(execution)}</Fact>}
      </dl>
      {run.next && <NextPage after={run.next} />}
      {statements.length > 0 && (
        <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? 'Hide SQL' : 'Show SQL'}
        </button>
      )}
      {open && statements.length > 0 && <Statements run={run} />}
    </div>
  );
}

/** Runs the tab again for the next page: with the cursor in its variables. */
function NextPage({ after }: { after: string }) {
  const variables = useGraphiQL((state) => state.variableEditor);
  const { run, updateActiveTabValues } = useGraphiQLActions();
  const turn = () => {
    if (!variables) return;
    const given = JSON.parse(variables.getValue() || '{}') as Record<string, unknown>;
    const text = `${JSON.stringify({ ...given, after }, null, 2)}\n`;
    variables.setValue(text);
    updateActiveTabValues({ variables: text });
    void run();
  };
  return (
    <button type="button" onClick={turn}>
      <Icon name="next" /> Next page
    </button>
  );
}

/** How it ran, in words that a stranger knows. */
function ran({ executor, fallbackReason, statements }: Execution): string {
  if (statements === 0) return 'no statement';
  const count = `${statements} ${statements === 1 ? 'statement' : 'statements'}`;
  if (executor === 'compiled') return `${count}, compiled`;
  if (fallbackReason === 'first sight' || fallbackReason === 'being compiled') {
    return `${count} in batches; one when it runs again`;
  }
  return `${count} in batches${fallbackReason ? ` (${fallbackReason})` : ''}`;
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
