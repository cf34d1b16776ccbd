// Registers the service worker that opens this page without a network, and offers a newer version when one waits.

import type { AppState, Store } from './state.ts';

export function startOffline(store: Store<AppState>, onUpdate: (apply: () => void) => void): void {
  const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
  if (!workers) {
    store.set({ shell: 'unavailable', shellNote: isSecureContext ? 'this browser window has no service worker' : 'the page is not served over https' });
    return;
  }
  const hadController = workers.controller !== null;
  let reloading = false;
  workers.addEventListener('controllerchange', () => {
    if (!hadController || reloading) return; // the first worker takes over without a reload
    reloading = true;
    // Perhaps asked for in another tab: an answer under way here is finished first.
    store.subscribe(({ phase }) => phase !== 'answering' && location.reload());
  });
  void register(workers, store, onUpdate);
}

async function register(workers: ServiceWorkerContainer, store: Store<AppState>, onUpdate: (apply: () => void) => void): Promise<void> {
  try {
    const registration = await workers.register(new URL('sw.js', document.baseURI), { updateViaCache: 'none' });
    const offer = (): void => {
      const waiting = registration.waiting;
      if (waiting && workers.controller) onUpdate(() => waiting.postMessage({ type: 'activate' }));
    };
    registration.addEventListener('updatefound', () => registration.installing?.addEventListener('statechange', offer));
    offer();
    await workers.ready;
    store.set({ shell: 'ready', shellNote: '' });
  } catch (error) {
    store.set({ shell: 'unavailable', shellNote: error instanceof Error ? error.message : String(error) });
  }
}
