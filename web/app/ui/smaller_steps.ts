// What the panel "Make it smaller" shows at each step of its controller. `data-first` marks where the focus goes.

import type { CompressPlan, CompressProgress, CompressResult, SizeChoice } from '../../src/index.ts';
import type { Smaller, Source, Step } from '../smaller.ts';
import { prettyName } from '../session.ts';
import { bytes, h, icon, seconds, sentence } from './dom.ts';
import { klNumber, qualityWords } from './quality.ts';

type Props = Record<string, unknown>;
const button = (words: string, onclick: () => void, props: Props = {}): HTMLButtonElement => h('button', { type: 'button', class: 'button', onclick, ...props }, words);
const quiet = (words: string, onclick: () => void, props: Props = {}): HTMLButtonElement => button(words, onclick, { class: 'button quiet', ...props });

/** Rows of a name and what it is. */
function facts(rows: [string, string | null][]): HTMLElement {
  return h('dl', { class: 'facts' }, ...rows.flatMap(([name, value]) => (value === null ? [] : [h('dt', {}, name), h('dd', {}, value)])));
}

/** `done`: of copying a file of the user's to the device. */
export function opening(done: number | null): HTMLElement {
  return h('p', { class: 'hint' }, done === null ? 'Reading the model …' : `Copying the file to this device … ${Math.floor(100 * done)} %`);
}

export function picking(actions: { models(): Promise<{ name: string; url: string; bytes: number }[]> }, begin: (source: Source, name: string) => void): HTMLElement {
  const list = h('ul', { class: 'offers' });
  void actions.models().then((models) => {
    list.replaceChildren(...models.map(({ name, url, bytes: size }) => h('li', {},
      h('button', { type: 'button', class: 'offer', onclick: () => begin(url, prettyName(name)) },
        icon('device'), h('span', { class: 'offer-name' }, prettyName(name)), h('span', { class: 'offer-note' }, bytes(size))))));
  });
  return h('div', { class: 'smaller-step' }, h('p', {}, 'Which model? Choose one that is on this device, or a GGUF file: drop it here.'), list,
    h('div', { class: 'row' }, h('label', { class: 'button quiet', for: 'smaller-file' }, icon('file'), 'Choose a file')));
}

/** CPU seconds per thousand parameters, measured in Chromium: SmolLM2 took 960 for measuring and one size (2026-12-01), a
 *  model of 1.5 billion without data 730 (2026-11-25). */
const kCpuSecondsPerThousand = { calibrated: 7e-3, dataFree: 5e-4 };

function about(plan: CompressPlan): string {
  const threads = Math.max(1, Math.min(8, navigator.hardwareConcurrency || 1));
  const perThousand = plan.calibrated ? kCpuSecondsPerThousand.calibrated : kCpuSecondsPerThousand.dataFree;
  const minutes = ((plan.parameters / 1000) * perThousand) / threads / 60;
  return minutes < 1.5 ? 'about a minute' : minutes < 90 ? `about ${Math.round(minutes)} minutes` : `about ${Math.round(minutes / 60)} hours`;
}

export function planned(smaller: Smaller, plan: CompressPlan): HTMLElement {
  const how = plan.calibrated
    ? 'The model first reads sample texts, which shows what matters in it. Then you choose a size, and it is written anew.'
    : 'You choose a size and the model is written anew. No texts are read for it, so its quality is not predicted.';
  const { unfinished, measured } = plan;
  const percent = (done: number): string => `${Math.round(100 * done)} %`;
  const go = unfinished ? `Go on with ${bytes(unfinished.bytes)}` : measured === 1 ? 'Choose a size' : measured > 0 ? 'Go on measuring' : 'Start';
  const time = unfinished ? `${percent(unfinished.done)} of it is done` : measured === 1 ? 'it is measured already' : `${about(plan)} in all${measured > 0 ? `; ${percent(measured)} of the measuring is done` : ''}`;
  return h('div', { class: 'smaller-step' }, h('p', {}, how),
    facts([
      ['Sizes', `${bytes(plan.smallestBytes)} to ${bytes(plan.largestBytes)}`],
      ['Memory it takes', bytes(plan.memoryBytes)],
      ['Storage it takes', `${bytes(plan.storageBytes)} while it works`],
      ['Time', time],
    ]),
    h('p', { class: 'hint' }, `It all happens on this device. ${smaller.parts.needsRoom(plan) ? 'Memory is short: the model you chat with is unloaded when it starts.' : 'You can go on chatting meanwhile.'} Pause when you like, or close the page and go on later.`),
    h('div', { class: 'row ways' }, button(go, () => void smaller.start(), { 'data-testid': 'smaller-start', 'data-first': '' }),
      (unfinished || measured > 0) && quiet('Discard', () => void smaller.cancel()), quiet('Another model', () => void smaller.close())));
}

const kStages: Record<CompressProgress['stage'], string> = {
  reading: 'Reading the model',
  measuring: 'Measuring what matters in it',
  coding: 'Writing the weights anew',
  checking: 'Comparing it with the original',
  writing: 'Writing the file',
};

/** Made once per job; only its numbers change, so that its buttons stay where the finger is. */
export class WorkView {
  readonly #stage = h('p', { class: 'card-title' });
  readonly #bar = h('progress', { max: '1', 'aria-label': 'Progress of making it smaller' });
  readonly #numbers = h('p', { class: 'card-note', 'data-testid': 'smaller-numbers' });
  readonly #pause: HTMLButtonElement;
  readonly element: HTMLElement;

  constructor(smaller: Smaller, readonly plan: CompressPlan | null) {
    const { store } = smaller;
    const paused = (): boolean => store.state.step.at === 'work' && store.state.step.paused;
    this.#pause = button('Pause', () => (paused() ? void smaller.resume() : smaller.pause()), { 'data-testid': 'smaller-pause', 'data-first': '' });
    this.element = h('div', { class: 'smaller-step' }, this.#stage, this.#bar, this.#numbers,
      h('p', { class: 'hint' }, 'Pausing or closing the page loses nothing. Cancelling deletes what was worked out.'),
      h('div', { class: 'row ways' }, this.#pause, quiet('Cancel', () => void smaller.cancel(), { 'data-testid': 'smaller-cancel' })));
  }

  show({ job, bytes: size, progress, paused }: Step & { at: 'work' }): void {
    const what = progress ? kStages[progress.stage] : job === 'analyse' ? kStages.measuring : kStages.coding;
    set(this.#stage, `${what}${size === null ? '' : `: ${bytes(size)}`}`);
    set(this.#pause, paused ? 'Resume' : 'Pause');
    if (progress) this.#bar.value = progress.total;
    else if (!paused) this.#bar.removeAttribute('value');
    else this.#bar.value = 0;
    const parts = [progress ? `${Math.floor(100 * progress.total)} %` : 'One moment'];
    if (paused) parts.push('paused');
    else if (progress?.secondsLeft != null) parts.push(`${seconds(progress.secondsLeft)} left`);
    set(this.#numbers, parts.join(' · '));
  }
}

function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

const share = (part: number, whole: number): string => `${Math.round((100 * part) / whole)} % of the original`;

function predicted({ predictedKl, bitsPerWeight }: SizeChoice): { words: string; number: string } {
  if (predictedKl === null) return { words: 'quality not predicted', number: `${bitsPerWeight.toFixed(2)} bits per weight` };
  return { words: qualityWords(predictedKl), number: `KL ${klNumber(predictedKl)} nats/token` };
}

export function choosing(smaller: Smaller, plan: CompressPlan, { choices, index }: Step & { at: 'choose' }): HTMLElement {
  const size = h('output', { class: 'smaller-size', for: 'smaller-slider', 'data-testid': 'smaller-size' });
  const words = h('p', { class: 'smaller-quality', 'data-testid': 'smaller-quality' });
  const memory = h('p', { class: 'card-note' });
  const slider = h('input', { type: 'range', id: 'smaller-slider', class: 'slider', 'data-testid': 'smaller-slider', 'data-first': '', min: '0', max: String(choices.length - 1), step: '1' });
  slider.value = String(index);
  const show = (): void => {
    const choice = choices[slider.valueAsNumber];
    if (!choice) return;
    const quality = predicted(choice);
    size.textContent = bytes(choice.bytes);
    words.replaceChildren(quality.words, h('span', { class: 'card-note' }, quality.number));
    memory.textContent = `${share(choice.bytes, plan.bytes)} · needs ${bytes(choice.memoryBytes)} of memory to chat`;
    slider.setAttribute('aria-valuetext', `${bytes(choice.bytes)}, ${share(choice.bytes, plan.bytes)}, ${quality.words}, ${quality.number}`);
  };
  slider.addEventListener('input', show);
  show();
  const make = (): void => void smaller.make(choices[slider.valueAsNumber]?.bytes ?? plan.largestBytes);
  return h('div', { class: 'smaller-step' },
    h('div', { class: 'smaller-choice' }, h('label', { for: 'smaller-slider' }, 'Size'), size, words, memory),
    slider, h('div', { class: 'row slider-ends' }, h('span', {}, 'smallest'), h('span', {}, 'best')),
    choices.some(({ predictedKl }) => predictedKl !== null) && h('p', { class: 'hint' }, 'KL is how far its next-word odds are from the original’s; 0 is no difference.'),
    h('div', { class: 'row ways' }, button('Make it', make, { 'data-testid': 'smaller-make' }), quiet('Discard', () => void smaller.cancel())));
}

const orNot = (value: number | null, words: (value: number) => string): string => (value === null ? 'not measured' : words(value));

export function done(smaller: Smaller, plan: CompressPlan, result: CompressResult, actions: { chat(url: string, name: string): void; save(url: string, name: string): Promise<boolean>; hide(): void }): HTMLElement {
  const { url, name, meanKl } = result;
  const said = h('p', { class: 'hint', role: 'status' });
  const save = (): void => {
    actions.save(url, name).then(
      (saved) => (said.textContent = saved ? 'Saved.' : ''),
      (error: unknown) => (said.textContent = `It could not be saved: ${error instanceof Error ? error.message : String(error)}`),
    );
  };
  const quality = meanKl === null ? 'Its quality was not measured.' : `It is ${qualityWords(meanKl)}.`;
  return h('div', { class: 'smaller-step', 'data-testid': 'smaller-report', 'data-result': JSON.stringify(result) },
    h('p', {}, h('strong', {}, prettyName(name)), ' is on this device now. ', quality),
    facts([
      ['Size', `${bytes(result.bytes)}, ${share(result.bytes, plan.bytes)}`],
      ['Bits per weight', result.bitsPerWeight.toFixed(2)],
      ['KL, measured', orNot(meanKl, (kl) => `${klNumber(kl)} nats/token`)],
      ['Same first choice', orNot(result.top1Agreement, (same) => `${(100 * same).toFixed(1)} % of the time`)],
      ['Perplexity', orNot(result.perplexityBefore, (before) => `${before.toFixed(2)} before, ${orNot(result.perplexityAfter, (after) => after.toFixed(2))} after`)],
      ['Time', `${seconds(result.seconds)}, ${bytes(result.peakMemoryBytes)} of memory at most`],
    ]),
    h('div', { class: 'row ways' },
      button('Chat with it', () => (actions.hide(), actions.chat(url, name)), { 'data-testid': 'smaller-chat', 'data-first': '' }),
      quiet('Save as file', save, { 'data-testid': 'smaller-save' }),
      quiet('Another size', () => smaller.another(), { 'data-testid': 'smaller-another' }),
      quiet('Close', () => (void smaller.cancel(), actions.hide()), { 'data-testid': 'smaller-close' })), said);
}

export function failed(smaller: Smaller, { problem: { code, message, advice }, again }: Step & { at: 'failed' }): HTMLElement {
  return h('div', { class: 'card error', role: 'alert', 'data-testid': 'smaller-error', 'data-code': code },
    h('p', { class: 'card-title' }, sentence(message)), h('p', { class: 'card-note' }, advice),
    h('div', { class: 'row ways' }, again && button('Try again', () => void smaller.retry(), { 'data-first': '' }), button('Another model', () => void smaller.close(), again ? { class: 'button quiet' } : { 'data-first': '' })));
}
