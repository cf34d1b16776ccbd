// Unit tests of the web layer: a fake worker and a fake core module, no wasm, no browser, no network.
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here('..'),
  resolve: { alias: { '@huggingface/jinja': here('./node_modules/@huggingface/jinja') } },
  test: { globals: true, include: ['tests/web/**/*.test.ts'], environment: 'node', testTimeout: 10_000 },
});
