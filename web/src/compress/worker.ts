// The worker of one compression: connects the calls to a CompressSession and gives it what only a browser's worker has.
import { takeLockWithin } from '../locks.ts';
import { detectCapabilities } from '../platform.ts';
import { serve, type ScopeLike } from '../rpc/server.ts';
import { OpfsStore } from '../store/opfs.ts';
import { deleteState, kEndingMs, kWorkLock, OpfsState } from '../store/states.ts';
import { breathe, sleep } from '../turns.ts';
import { importModule } from '../wasm_module.ts';
import { CompressCore, type CompressModule } from './core.ts';
import type { CompressCalls } from './protocol.ts';
import { CompressSession } from './session.ts';

async function lock(id: string, signal: AbortSignal): Promise<(() => void) | null> {
  const one = await takeLockWithin(kWorkLock, kEndingMs, signal);
  const two = one && (await takeLockWithin(`${kWorkLock}:${id}`, kEndingMs, signal));
  if (!two) one?.();
  return two && (() => {
    two();
    one!();
  });
}

serve<CompressCalls>(self as unknown as ScopeLike, new CompressSession({
  capabilities: detectCapabilities,
  startCore: async ({ flavour, threads }) => {
    return CompressCore.start(await importModule<CompressModule>(`nutshell-compress-${flavour}`, import.meta.url), threads);
  },
  breathe,
  sleep,
  openStore: () => OpfsStore.open(),
  openState: (id) => OpfsState.open(id),
  removeState: deleteState,
  lock,
  fetch: (url, init) => fetch(url, init),
  base: self.location.href,
  now: () => Date.now(),
}));
