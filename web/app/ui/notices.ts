// What stands under the conversation: the progress of a load, and an error with its ways out.

import type { AppState, Problem, Progress, Store, Way } from '../state.ts';
import { byId, bytes, h, iconButton, seconds, sentence } from './dom.ts';

const kWayNames: Record<Way, string> = {
  retry: 'Try again',
  pick: 'Choose another model',
  file: 'Open a file',
  'new-chat': 'New chat',
  completion: 'Use plain completion',
  unload: 'Unload the present model and try again',
};

const kPhaseNames: Record<Progress['phase'], string> = {
  start: 'Starting',
  wait: 'Another tab is fetching',
  download: 'Fetching',
  load: 'Opening',
  store: 'Keeping a copy of',
};

/** The progress card is made once and only its numbers change, so that its button stays where the finger is. */
export class ProgressCard {
  readonly #title = h('p', { class: 'card-title' });
  readonly #bar = h('progress', { max: '1', 'aria-label': 'Progress of loading' });
  readonly #numbers = h('p', { class: 'card-note' });
  readonly element: HTMLElement;

  constructor(onCancel: () => void) {
    const cancel = h('button', { type: 'button', class: 'button quiet', onclick: onCancel }, 'Cancel');
    this.element = h('div', { class: 'card progress', 'data-testid': 'progress' }, h('div', { class: 'row' }, this.#title, cancel), this.#bar, this.#numbers);
  }

  show({ name, phase, loadedBytes, totalBytes, bytesPerSecond, secondsLeft }: Progress): void {
    this.#title.textContent = `${kPhaseNames[phase]} ${name}`;
    if (totalBytes) this.#bar.value = loadedBytes / totalBytes;
    else this.#bar.removeAttribute('value');
    const parts = loadedBytes ? [totalBytes ? `${bytes(loadedBytes)} of ${bytes(totalBytes)}` : bytes(loadedBytes)] : ['One moment'];
    if (bytesPerSecond > 0) parts.push(`${bytes(Math.round(bytesPerSecond))} per second`);
    if (secondsLeft !== null && loadedBytes) parts.push(`${seconds(secondsLeft)} left`);
    this.#numbers.textContent = parts.join(' · ');
  }
}

export class Notices {
  readonly #box = byId('notices');
  readonly #progress: ProgressCard;
  #error: HTMLElement | null = null;
  #problem: Problem | null = null;

  constructor(
    store: Store<AppState>,
    readonly ways: Record<Way, () => void>,
    onCancel: () => void,
    readonly onDismiss: () => void,
  ) {
    this.#progress = new ProgressCard(onCancel);
    store.subscribe((state) => this.#show(state));
  }

  #show({ progress, problem }: AppState): void {
    if (progress) {
      this.#progress.show(progress);
      if (!this.#progress.element.isConnected) this.#reveal(this.#progress.element);
    } else {
      this.#progress.element.remove();
    }
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#error?.remove();
    this.#error = problem && this.#card(problem);
    if (this.#error) this.#reveal(this.#error);
  }

  #reveal(element: HTMLElement): void {
    this.#box.append(element);
    requestAnimationFrame(() => element.scrollIntoView({ block: 'nearest' })); // once all else has its size
  }

  #card({ code, message, advice, ways }: Problem): HTMLElement {
    const buttons = ways.map((way, index) => h('button', { type: 'button', class: index === 0 ? 'button' : 'button quiet', onclick: () => this.ways[way]() }, kWayNames[way]));
    return h('div', { class: 'card error', role: 'alert', 'data-testid': 'error', 'data-code': code },
      h('div', { class: 'row' }, h('p', { class: 'card-title' }, sentence(message)), iconButton('close', 'Dismiss', this.onDismiss)),
      h('p', { class: 'card-note' }, advice), h('div', { class: 'row ways' }, ...buttons));
  }
}
