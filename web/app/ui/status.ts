// The strip under the prompt: state of the model, what leaves the page, speed and memory. The same state stands on the
// body as data-state for styles.

import type { AppState, Store } from '../state.ts';
import { byId, bytes, h, icon } from './dom.ts';

/** Whether the page works without a network, in few words; storageTitle() says why not. */
function offlineWords({ info, shell }: AppState): string {
  if (!info) return '';
  if (!info.stored) return 'in memory only';
  if (shell === 'ready') return 'works offline now';
  return shell === 'none' ? 'preparing for offline use' : 'opens only online';
}

function statusWords(state: AppState): string {
  const { phase, progress, completion } = state;
  if (phase === 'empty') return 'No model loaded';
  if (phase === 'error') return 'No model loaded: see the message above';
  if (phase === 'loading') {
    const share = progress?.totalBytes ? ` ${Math.floor((100 * progress.loadedBytes) / progress.totalBytes)} %` : '';
    return `Loading${share}`;
  }
  if (phase === 'answering') return 'Answering';
  return ['Ready', offlineWords(state), completion && 'plain completion'].filter(Boolean).join(' · ');
}

function storageTitle({ info, shell, shellNote, storageDenied }: AppState): string {
  if (info?.storageProblem) return `${info.storageProblem.message}. ${info.storageProblem.advice ?? ''}`;
  if (storageDenied) return 'This window keeps nothing: settings and chat are gone when it closes.';
  if (info && !info.stored) return 'The model is in memory and must be opened again next time.';
  if (shell === 'unavailable') return `The model is on this device, but the page itself cannot be kept: ${shellNote}.`;
  return info ? 'The model is on this device.' : '';
}

/** The gauges: speed, memory, threads. `compute` tells how the model runs, for the tooltip. */
function gaugeWords({ tokensPerSecond, info }: AppState): { short: string; compute: string } {
  if (!info) return { short: '', compute: '' };
  const threads = `${info.threads} thread${info.threads === 1 ? '' : 's'}`;
  const parts = [tokensPerSecond ? `${tokensPerSecond.toFixed(1)} tok/s` : '', bytes(info.memoryBytes), threads].filter(Boolean);
  const why = info.isolated ? '' : ' The page is served without cross-origin isolation, so there is one thread.';
  return { short: parts.join(' · '), compute: `${threads}, ${info.simd} SIMD, context of ${info.contextSize} tokens.${why}` };
}

export function showStatus(store: Store<AppState>, requestNames: () => readonly string[]): void {
  const status = byId('status');
  const privacy = byId('privacy');
  const gauges = byId('gauges');
  const name = byId('model-name');
  const counted = h('span', {});
  privacy.append(icon('shield'), counted);
  store.subscribe((state) => {
    const { phase, requests, info, modelName } = state;
    document.body.dataset.state = phase;
    status.dataset.state = phase;
    set(status, statusWords(state));
    status.title = storageTitle(state);
    status.classList.toggle('good', info?.stored === true && state.shell === 'ready');
    set(name, modelName ?? (phase === 'loading' ? 'Loading …' : 'Choose a model'));
    privacy.hidden = info === null;
    set(counted, `${requests} request${requests === 1 ? '' : 's'} since the model was ready`);
    privacy.title = ['Counted by this browser’s performance log. The security policy of this page lets it reach its own site only.', ...requestNames().slice(-5)].join('\n');
    const { short, compute } = gaugeWords(state);
    set(gauges, short);
    gauges.title = compute;
    gauges.classList.toggle('warn', info !== null && !info.isolated);
  });
}

/** Writes only what differs, so that screen readers are not told the same thing again. */
function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
