// The texts a model is calibrated on and measured with: the caller's, or those beside the worker.
import { EngineError } from '../errors.ts';
import type { Text } from './core.ts';

const kDefaults = {
  calibration: ['calibration/calibration.txt', 'calibration/calibration.jsonl'],
  evaluation: ['calibration/evaluation.txt', 'calibration/evaluation.jsonl'],
};

export interface TextDeps {
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Address of the worker's own file. */
  base: string;
}

/** Both lists; `evaluation` is empty where the caller gave texts to calibrate on and none to measure with. */
export async function readTexts(
  wishes: { calibration?: string[]; evaluation?: string[] },
  signal: AbortSignal,
  deps: TextDeps,
): Promise<{ calibration: Text[]; evaluation: Text[] }> {
  const all = (texts: string[]) => Promise.all(texts.map((text) => read(text, signal, deps)));
  const own = wishes.calibration !== undefined;
  const [calibration, evaluation] = await Promise.all([
    all(wishes.calibration ?? kDefaults.calibration),
    all(wishes.evaluation ?? (own ? [] : kDefaults.evaluation)),
  ]);
  return { calibration, evaluation };
}

async function read(text: string, signal: AbortSignal, { fetch, base }: TextDeps): Promise<Text> {
  if (text.trimStart().startsWith('{')) return { name: 'text.jsonl', text };
  if (/\s/.test(text) || !URL.canParse(text, base)) return { name: 'text.txt', text };
  const url = new URL(text, base).href;
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new EngineError('network', `cannot fetch the calibration text ${url}`, { cause });
  }
  if (!response.ok) {
    throw new EngineError('not_found', `there is no calibration text at ${url} (${response.status})`, {
      advice: 'Build the page with scripts/build, which puts the texts beside it, or give texts of your own.',
    });
  }
  return { name: new URL(url).pathname, text: await response.text() };
}
