// Progress with speed and time left: the speed is taken over the last seconds, so that a stall shows, and reports are
// spaced so that they cost nothing.
import type { LoadProgress } from '../types.ts';

const kWindowMs = 5000;
const kReportEveryMs = 100;

export class Meter {
  private samples: { at: number; bytes: number }[] = [];
  private lastReport = -Infinity;
  private phase: LoadProgress['phase'] | null = null;

  constructor(
    private readonly report: (progress: LoadProgress) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Tells how many bytes of a phase are done; reports at once when the phase changes or ends. */
  update(phase: LoadProgress['phase'], loadedBytes: number, totalBytes: number | null): void {
    const at = this.now();
    const changed = phase !== this.phase;
    if (changed) this.samples = [];
    this.phase = phase;
    if (!changed && at - this.lastReport < kReportEveryMs && loadedBytes !== totalBytes) return;
    this.lastReport = at;
    this.samples.push({ at, bytes: loadedBytes });
    while (this.samples.length > 2 && at - this.samples[0]!.at > kWindowMs) this.samples.shift();
    const { at: since, bytes: before } = this.samples[0]!;
    const bytesPerSecond = at > since ? Math.max(0, ((loadedBytes - before) * 1000) / (at - since)) : 0;
    const rest = totalBytes === null ? null : totalBytes - loadedBytes;
    const secondsLeft = rest === null ? null : rest === 0 ? 0 : bytesPerSecond > 0 ? rest / bytesPerSecond : null;
    this.report({ phase, loadedBytes, totalBytes, bytesPerSecond, secondsLeft });
  }
}
