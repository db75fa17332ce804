import 'graphql-voyager/dist/voyager.css';
import './style.css';

import { Voyager, voyagerIntrospectionQuery } from 'graphql-voyager';
import { createRoot } from 'react-dom/client';
import { ask } from './api';
import { Header } from './header';

const introspection = ask({ query: voyagerIntrospectionQuery }).then(({ answer }) => answer);

createRoot(document.getElementById('root')!).render(
  <>
    <Header page="schema" />
    <main>
      <Voyager
        introspection={introspection as never}
        displayOptions={{ skipRelay: true, showLeafFields: true }}
        hideVoyagerLogo
      />
    </main>
  </>,
);
