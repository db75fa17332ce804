import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { type Options, type Person, options, signIn, signOut, viewer } from './api';
import { Icon } from './icons';
import { setSignedIn } from './runs';

/** Who asks, and the way to be someone else. In the explorer, changing it runs nothing. */
export function People({ onChange }: { onChange?: () => void }) {
  const [who, setWho] = useState<Person | null | undefined>();
  const [ways, setWays] = useState<Options>();
  useEffect(() => {
    void viewer().then(setWho, () => setWho(null));
    void options().then(setWays);
  }, []);
  useEffect(() => setSignedIn(who ?? null), [who]);
  if (who === undefined || ways === undefined) return <span className="who" />;
  if (ways.signIn === 'people') {
    const change = (person: Person | null) => {
      setWho(person);
      onChange?.();
    };
    return <Menu who={who} setWho={change} first={ways.people} />;
  }
  if (who) {
    return (
      <span className="who">
        <Named person={who} />
        {ways.signIn && (
          <a className="button" href="/auth/logout">
            Sign out
          </a>
        )}
      </span>
    );
  }
  if (ways.signIn === null) return <span className="who">Signed out</span>;
  const here = encodeURIComponent(location.pathname);
  return (
    <a className="button strong" href={`/auth/login?next=${here}`}>
      Sign in
    </a>
  );
}

interface MenuProps {
  who: Person | null;
  setWho: (who: Person | null) => void;
  first: Person[];
}

function Menu({ who, setWho, first }: MenuProps) {
  const panel = useRef<HTMLDivElement>(null);
  const [search, setSearch] = useState('');
  const [found, setFound] = useState(first);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    if (!search.trim()) {
      setFound(first);
      return undefined;
    }
    let late = false;
    const timer = setTimeout(() => {
      options(search).then(
        ({ people }) => late || setFound(people),
        () => late || setFound([]),
      );
    }, 150);
    return () => {
      late = true;
      clearTimeout(timer);
    };
  }, [search, first]);

  async function become(person: Person | null): Promise<void> {
    setProblem('');
    try {
      await (person ? signIn(person.email) : signOut());
      setWho(await viewer());
      panel.current?.hidePopover();
    } catch (error) {
      setProblem((error as Error).message);
    }
  }

  return (
    <>
      <button type="button" className="who" popoverTarget="people" aria-haspopup="dialog">
        {who ? <Named person={who} /> : <Face sign={<Icon name="person" />}>Signed out</Face>}
        <span className="caret">
          <Icon name="down" />
        </span>
      </button>
      <div
        id="people"
        popover="auto"
        ref={panel}
        role="dialog"
        aria-label="People"
        onKeyDown={(event) => move(event, panel.current)}
      >
        <input
          type="search"
          placeholder="Search people"
          aria-label="Search people"
          autoFocus
          value={search}
          onChange={(event) => setSearch(event.target.value)}
        />
        <p role="status">{problem}</p>
        <ul>
          <Choice chosen={who === null} choose={() => become(null)}>
            <Face sign={<Icon name="person" />}>Signed out</Face>
          </Choice>
          {found.map((person) => (
            <Choice
              key={person.email}
              chosen={who?.email === person.email}
              choose={() => become(person)}
            >
              <Named person={person} full />
            </Choice>
          ))}
        </ul>
        {found.length === 0 && <p className="hint">Nobody is called that.</p>}
      </div>
    </>
  );
}

interface ChoiceProps {
  chosen: boolean;
  choose: () => void;
  children: ReactNode;
}

function Choice({ chosen, choose, children }: ChoiceProps) {
  return (
    <li>
      <button type="button" aria-pressed={chosen} onClick={choose}>
        {children}
      </button>
    </li>
  );
}

/** Arrow keys go through the people; typing goes on with the search. */
function move(event: KeyboardEvent, panel: HTMLElement | null): void {
  const places = [...(panel?.querySelectorAll<HTMLElement>('input, li button') ?? [])];
  const here = places.indexOf(document.activeElement as HTMLElement);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    places[Math.min(Math.max(here + step, 0), places.length - 1)]?.focus();
  } else if (here > 0 && /^[^\s]$/u.test(event.key) && !event.ctrlKey && !event.metaKey) {
    places[0]?.focus(); // the key that was pressed arrives there
  }
}

function Named({ person, full = false }: { person: Person; full?: boolean }) {
  const powers = person.permissions.join(', ');
  return (
    <Face sign={initials(person.name)} hue={hue(person.email)}>
      <span className="name" title={person.email}>
        {person.name}
      </span>
      {full && person.name !== person.email && <small>{person.email}</small>}
      {full && powers && <small className="powers">may {powers}</small>}
    </Face>
  );
}

interface FaceProps {
  sign: ReactNode;
  hue?: number;
  children: ReactNode;
}

function Face({ sign, hue, children }: FaceProps) {
  const background = hue === undefined ? undefined : `hsl(${hue} 45% 32%)`;
  return (
    <span className="person">
      <span className="face" aria-hidden="true" style={{ background }}>
        {sign}
      </span>
      <span className="words">{children}</span>
    </span>
  );
}

function initials(name: string): string {
  const words = name.split(/[\s@.]+/).filter(Boolean);
  const ends = words.length > 1 ? [words[0]!, words.at(-1)!] : words;
  return ends.map((word) => [...word][0]!.toUpperCase()).join('');
}

function hue(text: string): number {
  return [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)!) % 360, 7);
}
