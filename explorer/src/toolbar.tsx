import { KEY_MAP, formatShortcutForOS, useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useEffect, useRef } from 'react';
import { useEditorTheme, useQueryEditor } from './editors';
import { cameByLink } from './share';
import { TABS } from './tabs';
import { ThemeButton } from './theme';

const SHOWN = [
  { what: 'run', key: KEY_MAP.runQuery.key, everywhere: false },
  { what: 'complete', key: 'Ctrl-Space', everywhere: true }, // macOS has ⌘-Space for itself
  { what: 'prettify', key: KEY_MAP.prettify.key, everywhere: true }, // GraphiQL binds Ctrl on macOS too
];

/** The shortcuts that one uses most; GraphiQL's own dialog lists them all. */
export function Shortcuts() {
  return (
    <ul className="shortcuts" aria-label="Keyboard shortcuts">
      {SHOWN.map(({ what, key, everywhere }) => (
        <li key={what}>
          <kbd>{everywhere ? key : formatShortcutForOS(key)}</kbd> {what}
        </li>
      ))}
    </ul>
  );
}

/** Runs the operation on Ctrl-Enter wherever the focus is; GraphiQL does it in its editors only. */
export function RunAnywhere() {
  const { run } = useGraphiQLActions();
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.defaultPrevented) return;
      event.preventDefault();
      void run();
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, [run]);
  return null;
}

/** Runs the first tab once, so that the page opens with an answer; never a tab of one's own. */
export function FirstAnswer() {
  const { run } = useGraphiQLActions();
  const opened = useGraphiQL((state) => {
    const tab = state.tabs[state.activeTabIndex];
    return Boolean(state.schema && state.responseEditor) && tab?.query === TABS[0]?.query;
  });
  const done = useRef(false);
  useEffect(() => {
    if (!opened || done.current || cameByLink) return;
    done.current = true;
    void run();
  }, [opened, run]);
  return null;
}

/** A variable that must be given: of a type that ends in "!", without a default. */
const NEEDED = /\$\w+\s*:\s*[\w[\]!]+!(?!\s*[\]=])/;

/** Folds the editor of variables away in a tab that needs none; GraphiQL shows it in every tab. */
export function FoldVariables() {
  const tab = useGraphiQL((state) => state.tabs[state.activeTabIndex]);
  const ready = useGraphiQL((state) => Boolean(state.variableEditor));
  useEffect(() => {
    if (!ready || !tab) return;
    const isEmpty = !/[^\s{}]/.test(tab.variables ?? '') && !NEEDED.test(tab.query ?? '');
    const label = isEmpty ? 'Hide editor tools' : 'Show editor tools';
    document.querySelector<HTMLElement>(`.graphiql-editors button[aria-label="${label}"]`)?.click();
    // When the tab changes, not while one types in it.
  }, [ready, tab?.id]);
  return null;
}

/** Keeps the chosen tab in sight where not all fit, and begins a new one at its editor. */
export function ChosenTab() {
  const tab = useGraphiQL((state) => state.tabs[state.activeTabIndex]?.id);
  const editor = useGraphiQL((state) => state.queryEditor);
  useEffect(() => {
    const chosen = document.querySelector('.graphiql-tab-active');
    chosen?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [tab]);
  useEffect(() => {
    const pressed = (event: Event) => {
      if (!(event.target as Element).closest('.graphiql-tab-add')) return;
      requestAnimationFrame(() => editor?.focus());
    };
    addEventListener('click', pressed);
    return () => removeEventListener('click', pressed);
  }, [editor]);
  return null;
}

/** The theme of GraphiQL, which keeps it. */
export function ExplorerTheme() {
  const theme = useGraphiQL((state) => state.theme);
  const { setTheme } = useGraphiQLActions();
  useQueryEditor();
  useEditorTheme(() => setTheme(theme ?? null));
  useEffect(() => {
    // The page itself follows the system by CSS; the editors have to be told.
    const system = matchMedia('(prefers-color-scheme: dark)');
    const follow = () => setTheme(theme ?? null);
    system.addEventListener('change', follow);
    return () => system.removeEventListener('change', follow);
  }, [theme, setTheme]);
  return <ThemeButton theme={theme ?? null} setTheme={setTheme} />;
}
