import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './style.css';
import './repairs';

import { DOC_EXPLORER_PLUGIN, DocExplorerStore } from '@graphiql/plugin-doc-explorer';
import { explorerPlugin } from '@graphiql/plugin-explorer';
import { HISTORY_PLUGIN, HistoryStore } from '@graphiql/plugin-history';
import { GraphiQLProvider } from '@graphiql/react';
import { GraphiQL, GraphiQLInterface } from 'graphiql';
import { createRoot } from 'react-dom/client';
import { EDITOR_THEME } from './editors';
import { Header } from './header';
import { People } from './people';
import { RunBar } from './runbar';
import { fetcher } from './runs';
import { Segments } from './segments';
import { Share } from './share';
import { TABS } from './tabs';
import { ChosenTab, ExplorerTheme, FirstAnswer, FoldVariables, RunAnywhere, Shortcuts } from './toolbar';

const PLUGINS = [DOC_EXPLORER_PLUGIN, explorerPlugin(), HISTORY_PLUGIN];

function Explorer() {
  return (
    <GraphiQLProvider
      fetcher={fetcher}
      plugins={PLUGINS}
      referencePlugin={DOC_EXPLORER_PLUGIN}
      defaultTabs={TABS}
      editorTheme={EDITOR_THEME}
    >
      <HistoryStore>
        <DocExplorerStore>
          <Header page="explorer">
            <RunAnywhere />
            <FirstAnswer />
            <FoldVariables />
            <ChosenTab />
            <Shortcuts />
            <Share />
            <ExplorerTheme />
            <People />
          </Header>
          <main>
            <Segments />
            <GraphiQLInterface isHeadersEditorEnabled defaultEditorToolsVisibility="variables">
              <GraphiQL.Logo>{null}</GraphiQL.Logo>
              <GraphiQL.Footer>
                <RunBar />
              </GraphiQL.Footer>
            </GraphiQLInterface>
          </main>
        </DocExplorerStore>
      </HistoryStore>
    </GraphiQLProvider>
  );
}

createRoot(document.getElementById('root')!).render(<Explorer />);
