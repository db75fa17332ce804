// The icons of the page, drawn on a grid of 16 by 16 in the colour of the text around them.

const PATHS = {
  system: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 2v12M8 5h4.6M8 8h6M8 11h4.6',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1.1 1.1M11.9 11.9 13 13M13 3l-1.1 1.1M4.1 11.9 3 13',
  moon: 'M13.5 9.8A5.8 5.8 0 0 1 6.2 2.5a5.8 5.8 0 1 0 7.3 7.3z',
  down: 'M4 6l4 4 4-4',
  back: 'M10 3.5 5.5 8l4.5 4.5',
  link: 'M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.3-2.3a2.6 2.6 0 0 0-3.7-3.7l-.9.9M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.2 9.1a2.6 2.6 0 0 0 3.7 3.7l.9-.9',
  copy: 'M6 6h7v7H6zM10 6V3H3v7h3',
  next: 'M3.5 8h9M8.5 4l4 4-4 4',
  restore: 'M3 8a5 5 0 1 1 1.6 3.7M3 12.5V9h3.5',
  person: 'M8 8.2a2.7 2.7 0 1 0 0-5.4 2.7 2.7 0 0 0 0 5.4zM3 14c.4-2.7 2.4-4 5-4s4.6 1.3 5 4',
  explain: 'M2.5 13.5h11M4 13.5V8M8 13.5V3M12 13.5V6',
} as const;

export type IconName = keyof typeof PATHS;

/** An icon that says nothing to a screen reader: its button has a name. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
