// From the stages of the core to what a page shows: how far a stage and the whole call are, and how long it will take.
import type { CoreStage } from './core.ts';
import type { CompressProgress } from './types.ts';

export type CallKind = 'open' | 'analyse' | 'make';

interface Part {
  stage: CoreStage;
  /** What it is called outside. */
  shown: CompressProgress['stage'];
  /** Of the call's time, about: measured with SmolLM2. */
  share: number;
}

const kParts: Record<CallKind, { calibrated: Part[]; free: Part[] }> = {
  open: { calibrated: [{ stage: 'reading', shown: 'reading', share: 1 }], free: [{ stage: 'reading', shown: 'reading', share: 1 }] },
  analyse: {
    calibrated: [
      { stage: 'reading', shown: 'reading', share: 0.01 },
      { stage: 'measuring', shown: 'measuring', share: 0.94 },
      { stage: 'weighing', shown: 'measuring', share: 0.05 },
    ],
    free: [{ stage: 'weighing', shown: 'measuring', share: 1 }],
  },
  make: {
    calibrated: [
      { stage: 'reading', shown: 'reading', share: 0.01 },
      { stage: 'coding', shown: 'coding', share: 0.78 },
      { stage: 'checking', shown: 'checking', share: 0.2 },
      { stage: 'writing', shown: 'writing', share: 0.01 },
    ],
    free: [
      { stage: 'coding', shown: 'coding', share: 0.98 },
      { stage: 'writing', shown: 'writing', share: 0.02 },
    ],
  },
};

/** Before that the rate says nothing. */
const kSettleMs = 3000;

export class Progress {
  private readonly parts: Part[];
  private start: { at: number; total: number } | null = null;
  private total = 0;

  constructor(
    kind: CallKind,
    calibrated: boolean,
    private readonly now: () => number,
  ) {
    this.parts = kParts[kind][calibrated ? 'calibrated' : 'free'];
  }

  /** A stage that is not of this call (measuring again what was damaged) moves nothing. */
  at(stage: CoreStage, done: number): CompressProgress | null {
    const index = this.parts.findIndex((part) => part.stage === stage);
    const part = this.parts[index];
    if (!part) return null;
    const before = this.parts.slice(0, index).reduce((sum, { share }) => sum + share, 0);
    this.total = Math.max(this.total, Math.min(1, before + part.share * done));
    // What was done in another run is skipped in a moment: the rate counts from the first real step on.
    const at = this.now();
    this.start ??= { at, total: this.total };
    const elapsed = at - this.start.at;
    const made = this.total - this.start.total;
    const secondsLeft = elapsed > kSettleMs && made > 0 ? ((elapsed / made) * (1 - this.total)) / 1000 : null;
    return { stage: part.shown, done: this.doneOf(part.shown, index, done), total: this.total, secondsLeft };
  }

  /** Of all parts that are shown as one stage. */
  private doneOf(shown: CompressProgress['stage'], index: number, done: number): number {
    const same = this.parts.map((part, i) => ({ ...part, i })).filter((part) => part.shown === shown);
    const whole = same.reduce((sum, { share }) => sum + share, 0);
    const made = same.reduce((sum, { share, i }) => sum + (i < index ? share : i === index ? share * done : 0), 0);
    return Math.min(1, made / whole);
  }
}
