// Reads a growing answer to screen readers: whole sentences as they are finished, never single tokens, and never the
// whole text again. The visible answer is not a live region itself for that reason.

import { byId, h } from './dom.ts';

export class Announcer {
  readonly #region = byId('live');
  #spoken = 0;

  /** `text` is the whole answer so far. */
  grow(text: string): void {
    if (text.length < this.#spoken) this.#spoken = 0;
    const rest = text.slice(this.#spoken);
    const end = rest.search(/[.!?:\n][^.!?:\n]*$/);
    if (end < 40) return; // wait for a sentence worth interrupting for
    this.#say(rest.slice(0, end + 1));
    this.#spoken += end + 1;
  }

  end(text: string): void {
    this.#say(text.slice(this.#spoken));
    this.#spoken = 0;
  }

  say(text: string): void {
    this.#say(text);
  }

  #say(text: string): void {
    const plain = text.replace(/[*_#`>|]+/g, ' ').trim();
    if (!plain) return;
    this.#region.append(h('p', {}, plain));
    while (this.#region.childElementCount > 6) this.#region.firstElementChild?.remove();
  }
}
