// What this browser can do, and the one decision made from it: which wasm flavour runs, with how many threads. By
// capability, never by the browser's name. Pure apart from detectCapabilities(), so that the decision is a table in tests.
import { EngineError } from './errors.ts';
import type { LoadOptions } from './types.ts';

export interface Capabilities {
  /** WebAssembly SIMD (128 bit): required. */
  simd: boolean;
  relaxedSimd: boolean;
  /** Cross-origin isolated: shared memory may be used. */
  isolated: boolean;
  /** Shared wasm memory can really be made. */
  sharedMemory: boolean;
  /** navigator.hardwareConcurrency, at least 1. */
  cores: number;
}

export interface Decision {
  simd: 'strict' | 'relaxed';
  threads: number;
  /** File stem of the wasm module: `nutshell-<flavour>.js`. */
  flavour: `${'strict' | 'relaxed'}-${'mt' | 'st'}`;
}

// Smallest modules that use the feature: `i8x16.splat; i8x16.popcnt` and `i8x16.relaxed_swizzle` in one function each.
const kSimdModule = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253,
  98, 11];
const kRelaxedSimdModule = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253,
  15, 65, 2, 253, 15, 253, 128, 2, 11];

function validates(bytes: number[]): boolean {
  return typeof WebAssembly === 'object' && WebAssembly.validate(new Uint8Array(bytes));
}

function canShareMemory(): boolean {
  try {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    return typeof SharedArrayBuffer === 'function' && memory.buffer instanceof SharedArrayBuffer;
  } catch {
    return false;
  }
}

/** Capabilities of the realm this runs in (page or worker). */
export function detectCapabilities(): Capabilities {
  return {
    simd: validates(kSimdModule),
    relaxedSimd: validates(kRelaxedSimdModule),
    isolated: globalThis.crossOriginIsolated === true,
    sharedMemory: canShareMemory(),
    cores: Math.max(1, globalThis.navigator?.hardwareConcurrency || 1),
  };
}

/**
 * Threads that are worth starting on `cores` logical cores. Up to four cores all are used; beyond, half of them (the other
 * half are mostly hyper-threads or slow cores of a phone), at least 4, at most 8, where decoding is bound by memory anyway.
 */
export function defaultThreads(cores: number): number {
  return cores <= 4 ? cores : Math.min(8, Math.max(4, Math.floor(cores / 2)));
}

const kMaxThreads = 32;

/**
 * The flavour for these capabilities and wishes. Threads that cannot be had fall back to one; SIMD that cannot be had is an
 * error (`no_wasm_simd`), and a wish outside the range is `invalid_argument`.
 */
export function decide(capabilities: Capabilities, options: Pick<LoadOptions, 'threads' | 'simd'>): Decision {
  const { threads: wish, simd: simdWish = 'auto' } = options;
  if (wish !== undefined && !(Number.isInteger(wish) && wish >= 1 && wish <= kMaxThreads)) {
    throw new EngineError('invalid_argument', `threads must be a whole number from 1 to ${kMaxThreads}, not ${wish}`);
  }
  if (!['auto', 'strict', 'relaxed'].includes(simdWish)) {
    throw new EngineError('invalid_argument', `simd must be 'auto', 'strict' or 'relaxed', not '${simdWish}'`);
  }
  if (!capabilities.simd) throw new EngineError('no_wasm_simd');
  if (simdWish === 'relaxed' && !capabilities.relaxedSimd) {
    throw new EngineError('no_wasm_simd', 'this browser lacks relaxed WebAssembly SIMD', {
      advice: "Load with simd: 'auto' or 'strict'.",
    });
  }
  const simd = simdWish === 'auto' ? (capabilities.relaxedSimd ? 'relaxed' : 'strict') : simdWish;
  const canThread = capabilities.isolated && capabilities.sharedMemory;
  const threads = canThread ? (wish ?? defaultThreads(capabilities.cores)) : 1;
  return { simd, threads, flavour: `${simd}-${threads > 1 ? 'mt' : 'st'}` };
}
