// How web/dist is made: the app (app/index.html), the service worker (app/sw.ts -> sw.js), the library (src/index.ts ->
// index.js, a stable name) and the engine's worker (worker-<hash>.js), all with relative addresses so that the folder works
// under any path of any static server. The wasm flavours are made by CMake and put into dist/wasm/ as they are (by
// scripts/build): a bundler must not touch them, because each threaded module starts its own file again as a worker.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const kWasmFolder = process.env['NUTSHELL_WASM_DIR'] ?? here('./src/generated/wasm');
const kShellPlaceholder = '"__NUTSHELL_SHELL__"';

/** Files of dist/wasm: the module flavours, each one `.js` and one `.wasm`. */
function wasmFiles(): { name: string; source: Buffer }[] {
  if (!existsSync(kWasmFolder)) return [];
  const names = readdirSync(kWasmFolder).filter((name) => /^nutshell-.*\.(js|wasm)$/.test(name)).sort();
  return names.map((name) => ({ name, source: readFileSync(`${kWasmFolder}/${name}`) }));
}

/**
 * Copies the wasm flavours to dist/wasm/ and gives the service worker what to cache: in `sw.js` the literal
 * "__NUTSHELL_SHELL__" becomes {version, files}: every file of dist except sw.js and the type declarations, and a hash of
 * their contents (a new build is a new version, an unchanged one is not).
 */
function shell(): Plugin {
  return {
    name: 'nutshell-shell',
    apply: 'build',
    generateBundle: {
      order: 'post',
      handler(_options, bundle) {
        for (const { name, source } of wasmFiles()) {
          this.emitFile({ type: 'asset', fileName: `wasm/${name}`, source });
        }
        const worker = bundle['sw.js'];
        const hash = createHash('sha256');
        const files = Object.keys(bundle).filter((name) => name !== 'sw.js' && !name.endsWith('.map')).sort();
        for (const name of files) {
          const item = bundle[name]!;
          hash.update(name).update(item.type === 'chunk' ? item.code : item.source);
        }
        if (worker?.type === 'chunk') {
          const list = JSON.stringify({ version: hash.digest('hex').slice(0, 16), files });
          if (!worker.code.includes(kShellPlaceholder)) this.error('sw.js does not contain "__NUTSHELL_SHELL__"');
          worker.code = worker.code.replace(kShellPlaceholder, list);
        }
      },
    },
  };
}

export default defineConfig({
  root: here('./app'),
  base: './',
  publicDir: here('./app/public'),
  plugins: [shell()],
  worker: { format: 'es', rolldownOptions: { output: { entryFileNames: 'worker-[hash].js' } } },
  build: {
    outDir: here('./dist'),
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      preserveEntrySignatures: 'exports-only',
      input: {
        app: here('./app/index.html'),
        index: here('./src/index.ts'),
        sw: here('./app/sw.ts'),
      },
      output: {
        entryFileNames: (chunk) => (chunk.name === 'index' || chunk.name === 'sw' ? '[name].js' : 'assets/[name]-[hash].js'),
        chunkFileNames: 'assets/[name]-[hash].js',
        assetFileNames: 'assets/[name]-[hash][extname]',
      },
    },
  },
});
