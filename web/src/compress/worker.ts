// The worker of one compression: connects the calls to a CompressSession and gives it what only a browser's worker has.
import { detectCapabilities } from '../platform.ts';
import { serve, type ScopeLike } from '../rpc/server.ts';
import { OpfsStore } from '../store/opfs.ts';
import { deleteState, kWorkLock, OpfsState } from '../store/states.ts';
import { breathe, sleep } from '../turns.ts';
import { importModule } from '../wasm_module.ts';
import { CompressCore, type CompressModule } from './core.ts';
import type { CompressCalls } from './protocol.ts';
import { CompressSession } from './session.ts';

/** A Web Lock if it is free; the browser frees it by itself when the worker ends. */
function tryLock(name: string): Promise<(() => void) | null> {
  return new Promise((resolve, reject) => {
    const held = (granted: Lock | null) =>
      granted ? new Promise<void>((release) => resolve(release)) : Promise.resolve(resolve(null));
    navigator.locks.request(name, { ifAvailable: true }, held).catch(reject);
  });
}

async function lock(id: string): Promise<(() => void) | null> {
  const one = await tryLock(kWorkLock);
  const two = one && (await tryLock(`${kWorkLock}:${id}`));
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
