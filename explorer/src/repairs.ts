// Puts right what assistive technology trips over in GraphiQL's own markup. React never writes
// these attributes again unless their values change, so each is put right where it appears.

const ARGUMENTS = '.graphiql-explorer-root input, .graphiql-explorer-root select';

function repair(): void {
  // A "tab" with buttons inside is one thing for a screen reader: a list of buttons instead.
  for (const list of all('.graphiql-tabs[role]')) list.removeAttribute('role');
  for (const item of all('.graphiql-tab[role], .graphiql-tab[aria-selected]')) {
    const current = item.getAttribute('aria-selected') === 'true' ? 'page' : 'false';
    item.querySelector('.graphiql-tab-button')?.setAttribute('aria-current', current);
    item.removeAttribute('role');
    item.removeAttribute('aria-selected');
  }
  // Its fields have no labels.
  for (const field of all(ARGUMENTS)) {
    const argument = field.closest<HTMLElement>('[data-arg-name]')?.dataset.argName;
    const fallback = field.matches('select') ? 'Kind of the new operation' : 'Name';
    if (!field.hasAttribute('aria-label')) field.setAttribute('aria-label', argument ?? fallback);
  }
  // Completion names the row that has the focus by an id, which the row may lack.
  for (const element of all('[aria-activedescendant]')) {
    const id = element.getAttribute('aria-activedescendant')!;
    if (document.getElementById(id)) continue;
    const focused = document.querySelector('.suggest-widget.visible .monaco-list-row.focused:not([id])');
    if (focused) focused.id = id;
    else element.removeAttribute('aria-activedescendant');
  }
  // A row shows its type too when it has the focus; its label is the name alone. Its text says both.
  for (const row of all('.suggest-widget .monaco-list-row[aria-label]')) {
    row.removeAttribute('aria-label');
  }
  // "Set active" would hide which operation it is.
  for (const item of all('.graphiql-history-item-label[aria-label]')) {
    item.removeAttribute('aria-label');
  }
}

function all(selector: string): NodeListOf<HTMLElement> {
  return document.querySelectorAll<HTMLElement>(selector);
}

let waiting = false;
new MutationObserver(() => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    repair();
  });
}).observe(document.body, {
  subtree: true,
  childList: true,
  attributeFilter: ['aria-activedescendant', 'aria-selected', 'role'],
});
