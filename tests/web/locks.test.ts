import { takeLock, takeLockWithin } from '../../web/src/locks.ts';

// Web Locks of one name, as the browser queues them.
class FakeLocks {
  private waiting: (() => void)[] = [];
  private held = false;
  async request(_name: string, { ifAvailable, signal }: LockOptions, use: (lock: unknown) => Promise<unknown>): Promise<unknown> {
    if (this.held && ifAvailable) return use(null);
    if (this.held)
      await new Promise<void>((go, reject) => {
        this.waiting.push(go);
        signal?.addEventListener('abort', () => {
          this.waiting = this.waiting.filter((each) => each !== go);
          reject(new DOMException('aborted', 'AbortError'));
        });
      });
    this.held = true;
    try {
      return await use({});
    } finally {
      this.held = false;
      this.waiting.shift()?.();
    }
  }
}

describe('locks', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal('navigator', { locks: new FakeLocks() });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  test('one that is held is waited for, but not for ever', async () => {
    const free = (await takeLock('a', {}))!;
    expect(await takeLock('a', { ifAvailable: true })).toBe(null);
    const late = takeLockWithin('a', 1000);
    await vi.advanceTimersByTimeAsync(1001);
    expect(await late).toBe(null);
    const soon = takeLockWithin('a', 1000);
    await vi.advanceTimersByTimeAsync(500);
    free();
    const freed = await soon;
    expect(freed).not.toBe(null);
    freed!();
    await vi.advanceTimersByTimeAsync(0);
    expect(await takeLock('a', { ifAvailable: true })).not.toBe(null);
  });

  test('who does not want it any more does not get it', async () => {
    const free = (await takeLock('a', {}))!;
    const stopper = new AbortController();
    const wanted = takeLockWithin('a', 1000, stopper.signal);
    stopper.abort();
    expect(await wanted).toBe(null);
    expect(await takeLockWithin('a', 1000, stopper.signal)).toBe(null);
    free();
    await vi.advanceTimersByTimeAsync(0);
    expect(await takeLock('a', { ifAvailable: true })).not.toBe(null);
  });
});
