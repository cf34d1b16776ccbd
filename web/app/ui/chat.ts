// The list of messages. Only the answer that grows is touched while it grows, at most once per frame; the page follows
// the end of the text only while the reader is there.

import type { AnswerNote, ChatView } from '../conversation.ts';
import type { Announcer } from './announce.ts';
import { byId, copyText, h, iconButton } from './dom.ts';
import { MarkdownView } from './markdown.ts';

interface Item {
  element: HTMLElement;
  answer?: { view: MarkdownView; root: HTMLElement; foot: HTMLElement; thoughts?: Thoughts };
}

export class ChatList implements ChatView {
  readonly #log = byId('log');
  readonly #scroll = byId('scroll');
  readonly #jump = byId('jump');
  #items: Item[] = [];
  #pending: string | null = null;
  #thought: { text: string; done: boolean } | null = null;
  #follow = true;
  /** There is one button for it, under the last answer. */
  readonly #again: HTMLButtonElement;

  constructor(
    readonly announcer: Announcer,
    onRegenerate: () => void,
  ) {
    this.#again = iconButton('again', 'Answer again', onRegenerate, '', { 'data-testid': 'regenerate' });
    this.#scroll.addEventListener('scroll', () => this.#noticeScroll(), { passive: true });
    this.#jump.addEventListener('click', () => this.toEnd(true));
    new ResizeObserver(() => this.#follow && this.toEnd()).observe(this.#log);
  }

  add(role: 'user' | 'assistant', text: string): void {
    document.body.dataset.chat = 'yes';
    const item = role === 'user' ? userItem(text) : this.#answerItem();
    if (item.answer && text) item.answer.view.update(text);
    this.#items.push(item);
    this.#log.append(item.element);
    this.#again.remove();
    this.toEnd(true);
  }

  stream(text: string): void {
    const first = this.#pending === null;
    this.#pending = text;
    this.announcer.grow(text);
    if (first) requestAnimationFrame(() => this.#flush());
  }

  think(text: string, done: boolean): void {
    const first = this.#thought === null;
    this.#thought = { text, done };
    if (done) this.#flushThought();
    else if (first) requestAnimationFrame(() => this.#flushThought());
  }

  finish(text: string, note: AnswerNote | null): void {
    this.#pending = text;
    this.#flush();
    const answer = this.#items.at(-1)?.answer;
    if (!answer) return;
    answer.root.removeAttribute('aria-busy');
    answer.foot.replaceChildren(...this.#footOf(text, note));
    if (note) this.announcer.end(text);
  }

  dropLast(): void {
    this.#pending = null;
    this.#thought = null;
    this.#items.pop()?.element.remove();
  }

  clear(): void {
    this.#pending = null;
    this.#thought = null;
    this.#items = [];
    this.#log.replaceChildren();
    delete document.body.dataset.chat;
    this.#noticeScroll();
  }

  /** Scrolls to the end; `force` also when the reader had scrolled away. */
  toEnd(force = false): void {
    if (force) this.#follow = true;
    if (this.#follow && this.#items.length > 0) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #flush(): void {
    const text = this.#pending;
    this.#pending = null;
    if (text === null) return;
    this.#items.at(-1)?.answer?.view.update(text);
    this.toEnd();
  }

  /** The reasoning stands folded above its answer; the first piece of it makes the place. */
  #flushThought(): void {
    const thought = this.#thought;
    this.#thought = null;
    const answer = this.#items.at(-1)?.answer;
    if (!thought || !answer) return;
    if (!answer.thoughts) {
      answer.thoughts = makeThoughts();
      answer.root.before(answer.thoughts.element);
    }
    answer.thoughts.summary.textContent = thought.done ? 'Thoughts' : 'Thinking …';
    answer.thoughts.text.textContent = thought.text;
    this.toEnd();
  }

  #noticeScroll(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#follow = scrollHeight - scrollTop - clientHeight < 48;
    this.#jump.hidden = this.#follow || this.#items.length === 0;
  }

  #answerItem(): Item {
    const root = h('div', { class: 'answer', 'data-testid': 'answer', 'aria-busy': 'true' });
    const foot = h('div', { class: 'foot' });
    const element = h('li', { class: 'turn assistant' }, h('div', { class: 'mark', 'aria-hidden': 'true' }), h('div', { class: 'body' }, root, foot));
    return { element, answer: { view: new MarkdownView(root), root, foot } };
  }

  #footOf(text: string, note: AnswerNote | null): Node[] {
    const copy = iconButton('copy', 'Copy the answer', () => void copyText(text, copy));
    const words: string[] = [];
    if (note?.stopped === 'user') words.push('stopped');
    if (note?.stopped === 'limit') words.push('stopped at the length limit');
    if (note?.tokens) words.push(`${note.tokens} token${note.tokens === 1 ? '' : 's'}`);
    if (note?.tokensPerSecond) words.push(`${note.tokensPerSecond.toFixed(1)} per second`);
    if (note?.cachedTokens) words.push(`${note.cachedTokens} reused`);
    return [copy, this.#again, h('span', { class: 'note' }, words.join(' · '))];
  }
}

interface Thoughts {
  element: HTMLDetailsElement;
  summary: HTMLElement;
  text: HTMLElement;
}

function makeThoughts(): Thoughts {
  const summary = h('summary', {}, '');
  const text = h('div', { class: 'thoughts-text' });
  return { element: h('details', { class: 'thoughts', 'data-testid': 'thoughts' }, summary, text), summary, text };
}

function userItem(text: string): Item {
  return { element: h('li', { class: 'turn user' }, h('span', { class: 'hide' }, 'You: '), h('div', { class: 'bubble' }, text)) };
}
