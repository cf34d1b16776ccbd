// How web/dist is made: the app (app/index.html), the service worker (app/sw.ts -> sw.js), the library (src/index.ts ->
// index.js, a stable name) and the workers of the engine and of the compressor (worker-<hash>.js, compress-worker-<hash>.js), all with relative addresses so that the folder works
// under any path of any static server. The wasm flavours are made by CMake and put into dist/wasm/ as they are (by
// scripts/build): a bundler must not touch them, because each threaded module starts its own file again as a worker.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const kWasmFolder = process.env['NUTSHELL_WASM_DIR'] ?? here('./src/generated/wasm');
const kShellPlaceholder = /(["'`])__NUTSHELL_SHELL__\1/;

const kModules = ['strict-mt', 'strict-st', 'relaxed-mt', 'relaxed-st', 'compress-strict-mt', 'compress-strict-st'];
/** Texts the compressor calibrates on (scripts/calibration); may be missing. */
const kCalibrationFolder = process.env['NUTSHELL_CALIBRATION_DIR'] ?? '';
/** What only those need who make models smaller: not part of what the service worker fetches at its installation. */
const kLater = /compress|smaller|^calibration\//;
const kPublicFolder = here('./app/public');

interface DistFile {
  name: string;
  source: string | Uint8Array;
}

/** Files of dist/wasm: each module is one `.js` and one `.wasm`. All or none are there. */
function wasmFiles(): DistFile[] {
  const names = kModules.flatMap((module) => [`nutshell-${module}.js`, `nutshell-${module}.wasm`]);
  const missing = names.filter((name) => !existsSync(`${kWasmFolder}/${name}`));
  if (missing.length === names.length) return [];
  if (missing.length) throw new Error(`${kWasmFolder} lacks ${missing.join(', ')}; scripts/build makes them`);
  return names.map((name) => ({ name: `wasm/${name}`, source: readFileSync(`${kWasmFolder}/${name}`) }));
}

/** Files of dist/calibration. */
function calibrationTexts(): DistFile[] {
  if (!kCalibrationFolder) return [];
  const names = readdirSync(kCalibrationFolder).filter((name) => /^(calibration|evaluation)\.(txt|jsonl)$/.test(name)).sort();
  return names.map((name) => ({ name: `calibration/${name}`, source: readFileSync(`${kCalibrationFolder}/${name}`) }));
}

/** Puts the calibration texts beside the workers. */
function texts(): Plugin {
  return {
    name: 'nutshell-texts',
    apply: 'build',
    generateBundle() {
      const files = calibrationTexts();
      if (!files.length) this.warn('no calibration texts: the page needs some from its user to make a model smaller');
      for (const { name, source } of files) this.emitFile({ type: 'asset', fileName: name, source });
    },
  };
}

/** Files that Vite copies as they are. */
function publicFiles(): DistFile[] {
  const entries = readdirSync(kPublicFolder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries.map((entry) => {
    const path = `${entry.parentPath}/${entry.name}`;
    return { name: path.slice(kPublicFolder.length + 1), source: readFileSync(path) };
  });
}

/**
 * Copies the wasm flavours to dist/wasm/ and tells the service worker what to cache: in `sw.js` the literal
 * "__NUTSHELL_SHELL__" becomes {version, files, later}: every file of dist except sw.js and the type declarations, `later` the
 * ones that are cached when they are first used, and a hash of their contents (a new build is a new version, an unchanged
 * one is not).
 */
function shell(): Plugin {
  return {
    name: 'nutshell-shell',
    apply: 'build',
    generateBundle: {
      order: 'post',
      handler(_options, bundle) {
        const wasm = wasmFiles();
        if (!wasm.length) this.warn(`no wasm modules in ${kWasmFolder}: the result cannot run a model`);
        for (const { name, source } of wasm) this.emitFile({ type: 'asset', fileName: name, source });
        const made = Object.values(bundle).map((item): DistFile => {
          return { name: item.fileName, source: item.type === 'chunk' ? item.code : item.source };
        });
        const files = new Map<string, DistFile>();
        for (const file of [...made, ...wasm, ...publicFiles()]) files.set(file.name, file);
        files.delete('sw.js');
        const names = [...files.keys()].sort();
        const hash = createHash('sha256');
        for (const name of names) hash.update(name).update(files.get(name)!.source);
        const list = JSON.stringify({
          version: hash.digest('hex').slice(0, 16),
          files: names.filter((name) => !kLater.test(name)),
          later: names.filter((name) => kLater.test(name)),
        });
        const worker = bundle['sw.js'];
        if (worker?.type !== 'chunk' || !kShellPlaceholder.test(worker.code)) {
          this.error('sw.js does not contain "__NUTSHELL_SHELL__"');
        }
        worker.code = worker.code.replace(kShellPlaceholder, () => list);
      },
    },
  };
}

export default defineConfig({
  root: here('./app'),
  base: './',
  publicDir: kPublicFolder,
  plugins: [texts(), shell()],
  define: { __NUTSHELL_VERSION__: JSON.stringify(JSON.parse(readFileSync(here('./package.json'), 'utf8')).version) },
  worker: {
    format: 'es',
    rolldownOptions: {
      output: {
        entryFileNames: ({ facadeModuleId }) => (facadeModuleId?.includes('/compress/') ? 'compress-worker-[hash].js' : 'worker-[hash].js'),
      },
    },
  },
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
        bench: here('./app/bench/index.html'),
        index: here('./src/index.ts'),
        sw: here('./app/sw.ts'),
      },
      output: {
        entryFileNames: (chunk) => (chunk.name === 'index' || chunk.name === 'sw' ? '[name].js' : 'assets/[name]-[hash].js'),
        chunkFileNames: (chunk) => `assets/${chunk.name === 'src' ? 'nutshell' : '[name]'}-[hash].js`,
        assetFileNames: 'assets/[name]-[hash][extname]',
      },
    },
  },
});
