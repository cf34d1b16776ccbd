// The worker of one engine: connects the calls to a Session and gives it what only a browser's worker has: fetch, locks,
// storage, and the wasm module of the chosen flavour. The only place that starts the module.
import { Core, importFlavour } from './core.ts';
import { takeLock } from './locks.ts';
import { detectCapabilities } from './platform.ts';
import type { Calls } from './rpc/protocol.ts';
import { serve, type ScopeLike } from './rpc/server.ts';
import { Session } from './session.ts';
import { MemoryStore } from './store/memory.ts';
import { OpfsStore } from './store/opfs.ts';
import { breathe, sleep } from './turns.ts';

const blockedOrigins = new Set<string>();
self.addEventListener('securitypolicyviolation', (event) => {
  if (event.effectiveDirective === 'connect-src' && URL.canParse(event.blockedURI)) {
    blockedOrigins.add(new URL(event.blockedURI).origin);
  }
});

/** The report of a violation may come just after the refused fetch has failed. */
async function isBlocked(url: string): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, 50));
  return blockedOrigins.has(new URL(url).origin);
}

async function lock(name: string, signal: AbortSignal, onWait: () => void): Promise<() => void> {
  const now = await takeLock(name, { ifAvailable: true });
  if (now) return now;
  onWait();
  return (await takeLock(name, { signal }))!;
}

serve<Calls>(self as unknown as ScopeLike, new Session({
  capabilities: detectCapabilities,
  startCore: async ({ flavour, threads }) => Core.start(await importFlavour(flavour, import.meta.url), threads),
  breathe,
  fetch: (url, init) => fetch(url, init),
  isBlocked,
  origin: self.location.origin,
  sleep,
  stallMs: 30_000,
  openStore: () => OpfsStore.open(),
  memoryStore: () => new MemoryStore(),
  lock,
  now: () => Date.now(),
}));
