// Web Locks: one worker at a time, over all tabs of the origin. The browser frees a lock by itself when its worker ends.

/** Answers how to free it; null where `ifAvailable` is asked for and another has it. Rejects when the signal aborts. */
export function takeLock(name: string, options: LockOptions = {}): Promise<(() => void) | null> {
  return new Promise((resolve, reject) => {
    const held = (granted: Lock | null) =>
      granted ? new Promise<void>((release) => resolve(release)) : Promise.resolve(resolve(null));
    navigator.locks.request(name, options, held).catch(reject);
  });
}

/** Waits no longer than that: null where another has it still, or the signal aborts. */
export async function takeLockWithin(name: string, ms: number, signal?: AbortSignal): Promise<(() => void) | null> {
  const late = new AbortController();
  const end = () => late.abort();
  const timer = setTimeout(end, ms);
  signal?.addEventListener('abort', end, { once: true });
  try {
    return signal?.aborted ? null : await takeLock(name, { signal: late.signal });
  } catch (error) {
    if (late.signal.aborted) return null;
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
  }
}
