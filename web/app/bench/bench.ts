// The page /bench: lets everybody measure this device with a model on it or one the server offers, and copy the result.

import { detectCapabilities, EngineError } from '../../src/index.ts';
import { Catalog, type Offer } from '../catalog.ts';
import { readSettings } from '../prefs.ts';
import { byId, bytes, h } from '../ui/dom.ts';
import { applyTheme } from '../ui/theme.ts';
import { measure, type Row } from './measure.ts';

declare const __NUTSHELL_VERSION__: string; // the build puts the package's version here

const catalog = new Catalog(new URL('../', document.baseURI).href);
const capabilities = detectCapabilities();
const rows: Row[] = [];
let offers: Offer[] = [];
let stopper: AbortController | null = null;

const model = byId<HTMLSelectElement>('model');
const threads = byId<HTMLInputElement>('threads');
const rounds = byId<HTMLInputElement>('rounds');
const simd = byId<HTMLSelectElement>('simd');
const go = byId<HTMLButtonElement>('go');
const stop = byId<HTMLButtonElement>('stop');
const copy = byId<HTMLButtonElement>('copy');

function say(state: 'idle' | 'busy' | 'done' | 'error', text: string): void {
  const status = byId('status');
  status.dataset['state'] = state;
  status.textContent = text;
}

function report(): string {
  const machine = { userAgent: navigator.userAgent, cores: capabilities.cores, isolated: capabilities.isolated, date: new Date().toISOString() };
  // A page cannot see what else the machine does: busy is not known.
  return JSON.stringify({ machine, busy: null, rows }, null, 1);
}

function show(row: Row): void {
  const unit = row.work.startsWith('prefill') ? 'Reading 128 tokens' : 'Writing';
  const cells = [unit, row.simd, String(row.threads), `${row.median} ${row.unit}`, `${row.min} – ${row.max}`];
  byId('rows').append(h('tr', { 'data-work': row.work }, ...cells.map((text) => h('td', {}, text))));
  byId('table').hidden = false;
  copy.hidden = false;
}

async function run(): Promise<void> {
  const offer = offers[model.selectedIndex];
  if (!offer || stopper) return;
  stopper = new AbortController();
  go.hidden = true;
  stop.hidden = false;
  say('busy', 'Loading the model …');
  try {
    const found = await measure({
      request: offer.request,
      threads: threads.valueAsNumber,
      simd: simd.value === 'strict' ? 'strict' : 'relaxed',
      rounds: rounds.valueAsNumber,
      version: __NUTSHELL_VERSION__,
      signal: stopper.signal,
      onLoad: ({ loadedBytes, totalBytes }) => say('busy', `Loading the model: ${bytes(loadedBytes)}${totalBytes ? ` of ${bytes(totalBytes)}` : ''}`),
      onRound: (round) => say('busy', `Measuring, round ${round} of ${rounds.value} …`),
    });
    rows.push(...found);
    found.forEach(show);
    say('done', 'Done. Other threads or another flavour can be measured too.');
  } catch (error) {
    if (stopper.signal.aborted) say('idle', 'Stopped.');
    else say('error', error instanceof EngineError ? `${error.message} ${error.advice}` : String(error));
  } finally {
    stopper = null;
    go.hidden = false;
    stop.hidden = true;
  }
}

async function start(): Promise<void> {
  applyTheme(readSettings().theme);
  const canThread = capabilities.isolated && capabilities.sharedMemory;
  threads.value = String(canThread ? Math.min(capabilities.cores, 8) : 1);
  threads.disabled = !canThread;
  if (!capabilities.relaxedSimd) {
    simd.value = 'strict';
    simd.disabled = true;
  }
  byId('form').addEventListener('submit', (event) => {
    event.preventDefault();
    void run();
  });
  stop.addEventListener('click', () => stopper?.abort());
  copy.addEventListener('click', () => {
    navigator.clipboard.writeText(report()).then(
      () => say('done', 'Copied.'),
      (error: unknown) => say('error', `The browser does not let this page copy: ${String(error)}`),
    );
  });
  await catalog.fetchServed();
  offers = await catalog.offers();
  for (const { request, bytes: size, complete } of offers) {
    model.append(h('option', {}, `${request.name}${size ? `, ${bytes(size)}` : ''}${complete ? '' : ' (to be downloaded)'}`));
  }
  if (offers.length === 0) say('error', 'There is no model here. Load one in the chat first.');
  go.disabled = offers.length === 0;
}

void start();
