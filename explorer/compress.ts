// Puts a .br and a .gz beside every file of the build that gets smaller by it; the server sends
// them to those who accept them (src/community_gql/http/explorer.py).

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import type { Plugin } from 'vite';

const SMALL = 1000; // bytes: fewer are not worth a file
const ENCODINGS = {
  br: (data: Buffer) =>
    promisify(brotliCompress)(data, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: 10, // 11 takes twice as long for 2 % less
        [constants.BROTLI_PARAM_LGWIN]: 22,
        [constants.BROTLI_PARAM_SIZE_HINT]: data.length,
      },
    }),
  gz: (data: Buffer) => promisify(gzip)(data, { level: 9 }),
};

export function compress(): Plugin {
  let folder = '';
  return {
    name: 'compress',
    apply: 'build',
    configResolved(config) {
      folder = resolve(config.root, config.build.outDir, config.build.assetsDir);
    },
    async closeBundle() {
      const files = await readdir(folder);
      await Promise.all(files.map((file) => compressed(join(folder, file))));
    },
  };
}

async function compressed(path: string): Promise<void> {
  const data = await readFile(path);
  if (data.length < SMALL) return;
  for (const [suffix, encode] of Object.entries(ENCODINGS)) {
    const smaller = await encode(data);
    if (smaller.length < data.length * 0.95) await writeFile(`${path}.${suffix}`, smaller);
  }
}
