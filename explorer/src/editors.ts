// How Monaco colours the editors: readable on our paper, in the page's green.

import { useGraphiQL, useMonaco } from '@graphiql/react';
import { useEffect } from 'react';

export const EDITOR_THEME = { light: 'community-light', dark: 'community-dark' };

function colours(paper: string, ink: string, leaf: string, numbers: string): Record<string, string> {
  return {
    'editor.background': '#00000000',
    'editorLineNumber.foreground': numbers,
    'editorLineNumber.activeForeground': numbers,
    'editorLineNumber.dimmedForeground': numbers,
    'scrollbar.shadow': '#00000000',
    'textLink.foreground': leaf,
    'textLink.activeForeground': leaf,
    'editorLink.activeForeground': leaf,
    'editorHoverWidget.background': paper,
    'editorWidget.background': paper,
    'editorSuggestWidget.background': paper,
    'editorSuggestWidget.selectedBackground': `${leaf}30`,
    'editorSuggestWidget.foreground': ink,
    'editorSuggestWidget.selectedForeground': ink,
    'editorSuggestWidget.selectedIconForeground': ink,
    'quickInputList.focusForeground': ink,
    'editorSuggestWidget.highlightForeground': leaf,
    'editorSuggestWidget.focusHighlightForeground': leaf,
    'list.hoverBackground': `${leaf}18`,
    'list.highlightForeground': leaf,
    'list.focusHighlightForeground': leaf,
    'menu.background': paper,
    'menu.selectionBackground': `${leaf}30`,
    'quickInput.background': paper,
    'quickInputList.focusBackground': `${leaf}30`,
    focusBorder: leaf,
  };
}

/** Long lines go on in the next one: nothing of a query is cut off. Only the schema completes. */
export function useQueryEditor(): void {
  const editor = useGraphiQL((state) => state.queryEditor);
  useEffect(() => editor?.updateOptions({ wordWrap: 'on', wordBasedSuggestions: 'off' }), [editor]);
}

/** Has the editors look so, once Monaco is there; `refresh` makes GraphiQL choose its theme anew. */
export function useEditorTheme(refresh: () => void): void {
  const monaco = useMonaco((state) => state.monaco);
  useEffect(() => {
    if (!monaco) return;
    monaco.editor.defineTheme(EDITOR_THEME.light, {
      base: 'vs',
      inherit: true,
      colors: colours('#ffffff', '#2c374b', '#17694a', '#5c6b80'),
      rules: [
        { token: 'number', foreground: '#08754d' },
        { token: 'argument.identifier.gql', foreground: '#5b57c4' },
      ],
    });
    monaco.editor.defineTheme(EDITOR_THEME.dark, {
      base: 'vs-dark',
      inherit: true,
      colors: colours('#19212e', '#d1d8e5', '#7bd6a9', '#9aa5b8'),
      rules: [
        { token: 'comment', foreground: '#86b573' },
        { token: 'argument.identifier.gql', foreground: '#a5a1ff' },
      ],
    });
    refresh();
  }, [monaco]);
}
