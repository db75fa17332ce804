import { useEffect, useState } from 'react';
import { explain } from './api';
import { Icon } from './icons';
import type { Run } from './runs';

type Sql = typeof import('./sql');

/** The statements of a run: in a line each, then laid out, and with PostgreSQL's plans. */
export function Statements({ run }: { run: Run }) {
  const [sql, setSql] = useState<Sql>();
  const [plans, setPlans] = useState<string[]>();
  const [problem, setProblem] = useState('');
  const [explained, setExplained] = useState<string[]>();
  useEffect(() => {
    let late = false;
    void import('./sql').then((loaded) => late || setSql(loaded));
    return () => {
      late = true;
    };
  }, []);
  useEffect(() => {
    setPlans(undefined);
    setExplained(undefined);
    setProblem('');
  }, [run]);
  const texts = explained ?? run.execution?.sql ?? [];

  async function ask(): Promise<void> {
    setProblem('');
    try {
      const found = await explain(run.request, run.headers);
      setExplained(found.sql);
      setPlans(found.plans);
    } catch (error) {
      setProblem((error as Error).message);
    }
  }

  if (!sql) return <p className="run-hint">Laying out …</p>;
  const laidOut = texts.map(sql.pretty);
  return (
    <section className="sql" tabIndex={0} aria-label="SQL statements">
      <div className="sql-tools">
        <ol className="outline">
          {texts.map((text, index) => (
            <li key={index}>{sql.outline(text)}</li>
          ))}
        </ol>
        <CopyButton text={laidOut.join(';\n\n')} label="Copy SQL" />
        {run.isQuery && (
          <button type="button" onClick={() => void ask()}>
            <Icon name="explain" /> Explain
          </button>
        )}
      </div>
      {problem && <p role="status">{problem}</p>}
      {laidOut.map((text, index) => (
        <div key={index}>
          {plans?.[index] !== undefined && (
            <>
              <ul className="reads">
                {sql.reads(plans[index]).map((line) => (
                  <li key={line}>{line}</li>
                ))}
              </ul>
              <details>
                <summary>PostgreSQL’s plan for these values</summary>
                <pre className="plan" tabIndex={0} aria-label="Plan">{plans[index]}</pre>
              </details>
            </>
          )}
          <pre>
            {sql.parts(text).map((part, place) => (
              <span key={place} className={part.kind && `sql-${part.kind}`}>
                {part.text}
              </span>
            ))}
          </pre>
        </div>
      ))}
    </section>
  );
}

/** Copies a text, and says so for a moment. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button
      type="button"
      onClick={() => void navigator.clipboard.writeText(text).then(() => setDone(true))}
    >
      <Icon name="copy" /> {done ? 'Copied' : label}
    </button>
  );
}
