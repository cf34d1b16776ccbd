// Counts the requests this page makes, from the browser's own performance log. It cannot see what a worker asks for;
// what holds there is the page's security policy, which lets page and workers reach this origin only.

export class RequestCounter {
  #names: string[] = [];
  #since = 0;

  constructor(readonly onChange: (count: number) => void) {
    if (typeof PerformanceObserver === 'undefined') return;
    new PerformanceObserver((list) => {
      const fresh = list.getEntries().filter((entry) => entry.startTime >= this.#since && /^https?:/.test(entry.name));
      if (fresh.length === 0) return;
      this.#names.push(...fresh.map((entry) => entry.name));
      this.onChange(this.#names.length);
    }).observe({ type: 'resource' });
  }

  /** The addresses asked for since the last reset. */
  get names(): readonly string[] {
    return this.#names;
  }

  reset(): void {
    this.#names = [];
    this.#since = performance.now();
    this.onChange(0);
  }
}
