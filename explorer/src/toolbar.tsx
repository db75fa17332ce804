import { KEY_MAP, formatShortcutForOS, useGraphiQL, useGraphiQLActions } from '@graphiql/react';

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

const THEMES = [
  { theme: null, name: 'system', sign: '◐' },
  { theme: 'light', name: 'light', sign: '☀' },
  { theme: 'dark', name: 'dark', sign: '☾' },
] as const;

/** Light, dark, or as the system is. */
export function ThemeButton() {
  const theme = useGraphiQL((state) => state.theme);
  const { setTheme } = useGraphiQLActions();
  const index = THEMES.findIndex((each) => each.theme === (theme ?? null));
  const now = THEMES[index]!;
  const next = THEMES[(index + 1) % THEMES.length]!;
  return (
    <button
      type="button"
      className="plain"
      title={`Theme: ${now.name}. Click for ${next.name}.`}
      aria-label={`Theme: ${now.name}. Change to ${next.name}`}
      onClick={() => setTheme(next.theme)}
    >
      <span aria-hidden="true">{now.sign}</span>
    </button>
  );
}
