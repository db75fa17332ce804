import { KEY_MAP, formatShortcutForOS, useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useEffect } from 'react';
import { useEditorTheme } from './editors';
import { ThemeButton } from './theme';

const SHOWN = [
  { what: 'run', key: KEY_MAP.runQuery.key },
  { what: 'complete', key: 'Ctrl-Space' },
  { what: 'prettify', key: KEY_MAP.prettify.key },
];

/** The shortcuts that one uses most; GraphiQL's own dialog lists them all. */
export function Shortcuts() {
  return (
    <ul className="shortcuts" aria-label="Keyboard shortcuts">
      {SHOWN.map(({ what, key }) => (
        <li key={what}>
          <kbd>{formatShortcutForOS(key)}</kbd> {what}
        </li>
      ))}
    </ul>
  );
}

/** The theme of GraphiQL, which keeps it. */
export function ExplorerTheme() {
  const theme = useGraphiQL((state) => state.theme);
  const { setTheme } = useGraphiQLActions();
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
