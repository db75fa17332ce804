import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { Icon } from './icons';
import { useSignedIn } from './runs';
import { TABS } from './tabs';

interface Shared {
  query: string;
  variables?: string;
}

const LINK = '#share=';

/** The text of a link holds it in base64 for URLs, which needs no escapes in a chat. */
function packed(shared: Shared): string {
  const bytes = new TextEncoder().encode(JSON.stringify(shared));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
  return text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

function unpacked(text: string): Shared | null {
  try {
    const bytes = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
    const json = new TextDecoder().decode(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)));
    const { query, variables } = JSON.parse(json) as Record<string, unknown>;
    if (typeof query !== 'string') return null;
    return typeof variables === 'string' ? { query, variables } : { query };
  } catch {
    return null; // cut off on its way
  }
}

/** Whether this page was opened by a link to a query: that is then what it shows. */
export const cameByLink = location.hash.startsWith(LINK);

/** A function that opens tabs with these contents behind the others. */
function useOpenTabs(): ((tabs: Shared[]) => void) | null {
  const { addTab, updateActiveTabValues } = useGraphiQLActions();
  const query = useGraphiQL((state) => state.queryEditor);
  const variables = useGraphiQL((state) => state.variableEditor);
  if (!query || !variables) return null;
  return (tabs) => {
    for (const tab of tabs) {
      addTab();
      query.setValue(tab.query);
      variables.setValue(tab.variables ?? '');
      const operationName = /^(?:query|mutation|subscription)\s+(\w+)/m.exec(tab.query)?.[1] ?? null;
      updateActiveTabValues({ query: tab.query, variables: tab.variables ?? '', operationName });
    }
  };
}

/** Opens what a link shares, once the editors are there. It is not run: it may change something. */
function useSharedTab(): void {
  const open = useOpenTabs();
  const opened = useRef(false);
  useEffect(() => {
    if (!open || opened.current || !cameByLink) return;
    opened.current = true;
    const shared = unpacked(location.hash.slice(LINK.length));
    history.replaceState(null, '', location.pathname);
    if (shared) open([shared]);
  }, [open]);
}

/** Sharing the query of the tab, and the examples back. */
export function Share() {
  useSharedTab();
  const panel = useRef<HTMLDivElement>(null);
  const query = useGraphiQL((state) => state.queryEditor);
  const variables = useGraphiQL((state) => state.variableEditor);
  const tabs = useGraphiQL((state) => state.tabs);
  const open = useOpenTabs();
  const who = useSignedIn();
  const [said, setSaid] = useState('');
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(''), 2000);
    return () => clearTimeout(timer);
  }, [said]);

  const shared = (): Shared => {
    const given = variables?.getValue() ?? '';
    return { query: query?.getValue() ?? '', ...(given.trim() && { variables: given }) };
  };
  const copy = (text: string, what: string) => {
    panel.current?.hidePopover();
    navigator.clipboard.writeText(text).then(
      () => setSaid(`${what} copied`),
      () => setSaid('The browser does not let this page copy.'),
    );
  };
  const missing = TABS.filter((each) => !tabs.some((tab) => tab.query === each.query));

  return (
    <div className="share">
      <button type="button" popoverTarget="share" aria-haspopup="menu">
        <Icon name="link" /> <span>Share</span>
      </button>
      <span role="status">{said}</span>
      <div id="share" popover="auto" ref={panel} role="menu" aria-label="Share">
        <Item
          icon="link"
          choose={() => copy(`${location.origin}/${LINK}${packed(shared())}`, 'Link')}
        >
          Copy link
        </Item>
        <Item icon="copy" choose={() => copy(asCurl(shared(), who?.email), 'Command')}>
          Copy as cURL
        </Item>
        <Item icon="copy" choose={() => copy(asFetch(shared()), 'Code')}>
          Copy as fetch
        </Item>
        <Item
          icon="restore"
          disabled={!open || missing.length === 0}
          choose={() => {
            panel.current?.hidePopover();
            open?.(missing);
          }}
        >
          Restore examples
        </Item>
      </div>
    </div>
  );
}

interface ItemProps {
  icon: 'link' | 'copy' | 'restore';
  choose: () => void;
  disabled?: boolean;
  children: ReactNode;
}

function Item({ icon, choose, disabled = false, children }: ItemProps) {
  return (
    <button type="button" role="menuitem" onClick={choose} disabled={disabled}>
      <Icon name={icon} /> {children}
    </button>
  );
}

function body({ query, variables }: Shared): string {
  let given: unknown;
  try {
    given = JSON.parse(variables ?? '{}');
  } catch {
    given = {}; // the editor marks what is wrong with them
  }
  return JSON.stringify({ query, variables: given });
}

/** A command for a shell; who is signed in here (development) gets a token of the command line. */
function asCurl(shared: Shared, email: string | undefined): string {
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const token = email ? ` \\\n  -H "Authorization: Bearer $(community-gql token ${email})"` : '';
  return (
    `curl ${location.origin}/graphql \\\n  -H 'Content-Type: application/json'${token} \\\n` +
    `  -d ${quoted(body(shared))}`
  );
}

function asFetch(shared: Shared): string {
  return `const response = await fetch('${location.origin}/graphql', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' }, // and Authorization: \`Bearer \${token}\`
  body: JSON.stringify(${JSON.stringify(JSON.parse(body(shared)), null, 2)}),
});
const { data, errors } = await response.json();
`;
}
