import { Icon } from './icons';

export type Theme = 'light' | 'dark' | null;

const THEMES = [
  { theme: null, name: 'system', icon: 'system' },
  { theme: 'light', name: 'light', icon: 'sun' },
  { theme: 'dark', name: 'dark', icon: 'moon' },
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
      <Icon name={now.icon} />
    </button>
  );
}
