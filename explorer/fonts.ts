// Takes the fonts out of GraphiQL's style sheet, which holds all of them as text: as files, a
// browser fetches only those of the letters and weights that the page shows.

import { createHash } from 'node:crypto';
import type { Plugin } from 'vite';

const FONT = /data:font\/(\w+);base64,([\w+/=]+)/g;

export function fontFiles(base: string): Plugin {
  return {
    name: 'font-files',
    apply: 'build',
    enforce: 'post',
    generateBundle(_, bundle) {
      for (const sheet of Object.values(bundle)) {
        if (sheet.type !== 'asset' || !sheet.fileName.endsWith('.css')) continue;
        sheet.source = String(sheet.source).replace(FONT, (_all, kind: string, text: string) => {
          const source = Buffer.from(text, 'base64');
          const digest = createHash('sha256').update(source).digest('base64url').slice(0, 8);
          const fileName = `assets/font-${digest}.${kind}`;
          if (!bundle[fileName]) this.emitFile({ type: 'asset', fileName, source });
          return base + fileName;
        });
      }
    },
  };
}
