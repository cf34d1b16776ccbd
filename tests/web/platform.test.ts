// The decision from capabilities and wishes, as a table.
import { decide, defaultThreads, detectCapabilities, type Capabilities } from '../../web/src/platform.ts';
import type { LoadOptions } from '../../web/src/types.ts';

const kAll: Capabilities = { simd: true, relaxedSimd: true, isolated: true, sharedMemory: true, cores: 4 };

test.each<[Partial<Capabilities>, Pick<LoadOptions, 'threads' | 'simd'>, string]>([
  [{}, {}, 'relaxed-mt 4'],
  [{ cores: 1 }, {}, 'relaxed-st 1'],
  [{ relaxedSimd: false }, {}, 'strict-mt 4'],
  [{ relaxedSimd: false }, { simd: 'strict' }, 'strict-mt 4'],
  [{}, { simd: 'strict' }, 'strict-mt 4'],
  [{}, { simd: 'relaxed', threads: 2 }, 'relaxed-mt 2'],
  [{}, { threads: 1 }, 'relaxed-st 1'],
  [{ isolated: false }, {}, 'relaxed-st 1'],
  [{ isolated: false }, { threads: 8 }, 'relaxed-st 1'],
  [{ sharedMemory: false }, { threads: 8 }, 'relaxed-st 1'],
  [{ isolated: false, relaxedSimd: false }, {}, 'strict-st 1'],
  [{ cores: 2 }, { threads: 6 }, 'relaxed-mt 6'],
])('%j with %j is %s', (capabilities, options, expected) => {
  const { flavour, threads, simd } = decide({ ...kAll, ...capabilities }, options);
  expect(`${flavour} ${threads}`).toBe(expected);
  expect(flavour.startsWith(simd)).toBe(true);
});

test.each<[Partial<Capabilities>, object, string]>([
  [{ simd: false }, {}, 'no_wasm_simd'],
  [{ relaxedSimd: false }, { simd: 'relaxed' }, 'no_wasm_simd'],
  [{}, { threads: 0 }, 'invalid_argument'],
  [{}, { threads: 1.5 }, 'invalid_argument'],
  [{}, { threads: 33 }, 'invalid_argument'],
  [{}, { simd: 'avx' }, 'invalid_argument'],
])('%j with %j is refused by %s', (capabilities, options, code) => {
  expect(() => decide({ ...kAll, ...capabilities }, options)).toThrow(expect.objectContaining({ code }));
});

test.each([[1, 1], [2, 2], [4, 4], [6, 4], [8, 4], [12, 6], [16, 8], [64, 8]])('%i cores: %i threads', (cores, threads) => {
  expect(defaultThreads(cores)).toBe(threads);
});

test('detection runs here: node has SIMD', () => {
  expect(detectCapabilities()).toMatchObject({ simd: true, isolated: false });
});
