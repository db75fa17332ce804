import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Two pages, the explorer and the map of the schema; src/community_gql/api/explorer.py serves both.
export default defineConfig({
  base: '/explorer/',
  plugins: [react()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // the policy allows no data: but for pictures
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 5000, // Monaco is as large as it is
    rollupOptions: { input: ['index.html', 'schema.html'] },
  },
});
