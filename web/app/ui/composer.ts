// The prompt: grows with its text, Enter sends (Shift+Enter breaks the line, an input method's Enter does neither),
// Escape stops. What is sent while the model still loads waits in the box and goes out once the model is ready.

import type { AppState, Store } from '../state.ts';
import { byId } from './dom.ts';

export interface ComposerActions {
  send(text: string): void;
  stop(): void;
  needModel(): void; // the user wants to send, but no model is loaded or loading
}

export class Composer {
  readonly #form = byId<HTMLFormElement>('composer');
  readonly #prompt = byId<HTMLTextAreaElement>('prompt');
  readonly #send = byId<HTMLButtonElement>('send');
  readonly #stop = byId<HTMLButtonElement>('stop');
  #queued = false;

  constructor(
    readonly store: Store<AppState>,
    readonly actions: ComposerActions,
  ) {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#prompt.addEventListener('keydown', (event) => this.#key(event));
    this.#prompt.addEventListener('input', () => this.#changed());
    this.#stop.addEventListener('click', () => actions.stop());
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && store.state.phase === 'answering' && !event.defaultPrevented) actions.stop();
    });
    store.subscribe((state) => this.#show(state));
  }

  focus(): void {
    this.#prompt.focus({ preventScroll: true });
  }

  /** Puts a suggestion into the box and sends it. */
  use(text: string): void {
    this.#prompt.value = text;
    this.#changed();
    this.#submit();
  }

  #submit(): void {
    const text = this.#prompt.value.trim();
    const { phase } = this.store.state;
    if (!text || phase === 'answering') return;
    if (phase === 'loading') {
      this.#setQueued(true);
      return;
    }
    if (phase !== 'ready') return this.actions.needModel();
    this.#setQueued(false);
    this.#prompt.value = '';
    this.#changed();
    this.actions.send(text);
  }

  #key(event: KeyboardEvent): void {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#submit();
  }

  #changed(): void {
    if (this.#queued && !this.#prompt.value.trim()) this.#setQueued(false);
    this.#send.classList.toggle('idle', this.#prompt.value.trim() === '');
    this.#prompt.style.height = 'auto';
    this.#prompt.style.height = `${Math.min(this.#prompt.scrollHeight, innerHeight * 0.4)}px`;
  }

  #setQueued(queued: boolean): void {
    this.#queued = queued;
    this.#form.classList.toggle('queued', queued);
  }

  #show({ phase, completion }: AppState): void {
    const answering = phase === 'answering';
    const focusMoves = document.activeElement === (answering ? this.#send : this.#stop);
    this.#stop.hidden = !answering;
    this.#send.hidden = answering;
    if (focusMoves) (answering ? this.#stop : this.#prompt).focus();
    this.#prompt.placeholder = completion ? 'Begin a text; the model continues it' : phase === 'loading' ? 'Ask; it is sent when ready' : 'Ask anything';
    this.#send.classList.toggle('idle', this.#prompt.value.trim() === '');
    if (this.#queued && phase === 'ready') queueMicrotask(() => this.#submit());
    if (phase === 'error' || phase === 'empty') this.#setQueued(false);
  }
}
