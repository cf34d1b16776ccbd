// One measurement of this device: loads a model, warms up, and times prefill and decode a few times. The works, units and rows
// are those of scripts/bench/browser, so that both kinds of report can be read side by side. Shows nothing.

import { type Engine, type LoadProgress, Nutshell, type Timings } from '../../src/index.ts';
import type { LoadRequest } from '../session.ts';

export interface Row {
  engine: 'nutshell';
  version: string;
  model: string;
  simd: string;
  threads: number;
  work: string;
  unit: string;
  min: number;
  median: number;
  max: number;
  rounds: number;
}

export interface Wish {
  request: LoadRequest;
  threads: number;
  simd: 'strict' | 'relaxed';
  rounds: number;
  version: string;
  signal: AbortSignal;
  onLoad: (progress: LoadProgress) => void;
  onRound: (round: number) => void;
}

const kPrompt = 128;
const kSteps = 64;
const kContext = 512;

/** Ids of the model's own vocabulary that look random; the same at every run. */
function promptIds(count: number): number[] {
  let state = 12345;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return 1000 + ((state >> 8) % 29000);
  });
}

async function generate(engine: Engine, prompt: number, maxTokens: number, signal: AbortSignal): Promise<Timings> {
  const options = { maxTokens, ignoreEnd: true, temperature: 0, cachePrompt: false, draftTokens: 0, signal };
  for await (const piece of engine.generate(promptIds(prompt), options)) void piece;
  if (!engine.timings) throw new Error('the engine gave no timings');
  return engine.timings;
}

function row(engine: Engine, version: string, work: string, values: number[]): Row {
  const sorted = values.map((value) => Number(value.toPrecision(4))).sort((a, b) => a - b);
  const [min, median, max] = [sorted[0] ?? 0, sorted[sorted.length >> 1] ?? 0, sorted[sorted.length - 1] ?? 0];
  const { simd, threads, model } = engine.info;
  return { engine: 'nutshell', version, model: model.name, simd, threads, work, unit: 'tokens/s', min, median, max, rounds: values.length };
}

/** Rows of prefill and decode. Throws what the library throws; the engine is gone afterwards in every case. */
export async function measure({ request, threads, simd, rounds, version, signal, onLoad, onRound }: Wish): Promise<Row[]> {
  const { source, name, sha256 } = request;
  const expected = sha256 ? { sha256 } : {};
  const engine = await Nutshell.load(source, { threads, simd, name, contextSize: kContext, signal, onProgress: onLoad, ...expected });
  try {
    await generate(engine, 64, 16, signal);
    const [prefill, decode]: [number[], number[]] = [[], []];
    for (let round = 1; round <= rounds; round++) {
      onRound(round);
      const read = await generate(engine, kPrompt, 1, signal);
      prefill.push((read.promptTokens * 1000) / read.prefillMs);
      const written = await generate(engine, 2, kSteps + 1, signal);
      // The first token comes out of the prompt's own logits.
      decode.push(((written.tokens - 1) * 1000) / written.decodeMs);
    }
    return [row(engine, version, `prefill:${kPrompt}`, prefill), row(engine, version, 'decode:0', decode)];
  } finally {
    await engine.dispose();
  }
}
