import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';
import { compress } from './compress';
import { fontFiles } from './fonts';

const BASE = '/explorer/';

// Two pages, the explorer and the map of the schema; src/community_gql/http/explorer.py serves both.
export default defineConfig({
  base: BASE,
  plugins: [react(), fontFiles(BASE), compress()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // the policy allows no data: but for pictures
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 5000, // Monaco is as large as it is
    rollupOptions: { input: ['index.html', 'schema.html'] },
  },
});
