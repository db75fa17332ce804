export type Theme = 'light' | 'dark' | null;

const THEMES = [
  { theme: null, name: 'system', sign: '◐' },
  { theme: 'light', name: 'light', sign: '☀' },
  { theme: 'dark', name: 'dark', sign: '☾' },
] as const;

interface ThemeButtonProps {
  theme: Theme;
  setTheme: (theme: Theme) => void;
}

/** Light, dark, or (null) as the system is. */
export function ThemeButton({ theme, setTheme }: ThemeButtonProps) {
  const index = THEMES.findIndex((each) => each.theme === theme);
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
