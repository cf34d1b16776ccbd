// The panel "Make it smaller": one view per step of the controller (smaller.ts). It opens under the header beside the chat
// and can be hidden while the work goes on; a button in the header then tells how far it is. Loaded when first wanted.

import { discardCompression } from '../../src/index.ts';
import { saveModel } from '../save.ts';
import { Smaller, type SmallerParts, type SmallerState, type Source, type Step } from '../smaller.ts';
import { prettyName } from '../session.ts';
import type { Announcer } from './announce.ts';
import { byId, bytes, h, icon, iconButton } from './dom.ts';
import { choosing, done, failed, opening, picking, planned, WorkView } from './smaller_steps.ts';
import { type Begun, unfinishedCard } from './unfinished.ts';

export interface PanelActions extends SmallerParts {
  /** Models that are on this device. */
  models(): Promise<{ name: string; url: string; bytes: number }[]>;
  chat(url: string, name: string): void;
}

const kAnnouncedShares = [0.25, 0.5, 0.75];

export class SmallerPanel {
  readonly #smaller: Smaller;
  readonly #title = h('h2', { id: 'smaller-title', tabindex: '-1' }, 'Make it smaller');
  readonly #model = h('p', { class: 'hint smaller-model' });
  readonly #content = h('div', { class: 'smaller-step' });
  readonly #file = h('input', { type: 'file', id: 'smaller-file', 'data-testid': 'smaller-file', accept: '.gguf', class: 'hide' });
  readonly #panel: HTMLElement;
  readonly #pill: HTMLButtonElement;
  readonly #pillWords = h('span', { class: 'tool-label' }); // phones show the share alone
  readonly #pillShare = h('span', {});
  #work: WorkView | null = null;
  #shown: Step | null = null;
  #announced = 0;
  #opener: HTMLElement | null = null;

  constructor(
    readonly actions: PanelActions,
    readonly announcer: Announcer,
  ) {
    this.#smaller = new Smaller(actions);
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files ?? [];
      this.#file.value = '';
      if (file) void this.begin(file, prettyName(file.name));
    });
    this.#panel = h('section', { class: 'panel smaller', role: 'dialog', 'aria-labelledby': 'smaller-title', 'data-testid': 'smaller' },
      h('div', { class: 'row drawer-head' }, this.#title, iconButton('close', 'Hide', () => this.hide(), '', { 'data-testid': 'smaller-hide' })),
      this.#model, this.#content, this.#file);
    this.#panel.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.preventDefault(); // it does not stop an answer as well
      this.hide();
    });
    this.#panel.addEventListener('drop', (event) => this.#drop(event));
    this.#pill = h('button', { type: 'button', class: 'chip smaller-pill', 'data-testid': 'smaller-pill', onclick: () => this.open(this.#pill) }, icon('smaller'), this.#pillWords, this.#pillShare);
    byId('new-chat').before(this.#pill);
    this.#smaller.store.subscribe((state) => this.#show(state));
  }

  /** Shows the panel as it is. The focus goes back to `opener` when it is hidden. */
  open(opener: HTMLElement | null = null): void {
    this.#opener = opener;
    byId('overlay').append(this.#panel);
    this.#showPill();
    this.#title.focus({ preventScroll: true });
  }

  /** Opens a model in it; what is being made meanwhile is not disturbed: it is shown instead. */
  async begin(source: Source, name: string, goOn = false, opener: HTMLElement | null = this.#opener): Promise<void> {
    this.open(opener);
    if (!this.#smaller.working) await this.#smaller.begin(source, name, goOn);
  }

  /** Asks which model. */
  async pick(opener: HTMLElement | null): Promise<void> {
    this.open(opener);
    const { at } = this.#smaller.store.state.step;
    if (at === 'failed' || at === 'done' || at === 'plan') await this.#smaller.close();
  }

  /** Offers to go on with work of an earlier visit. */
  offer(begun: Begun[]): void {
    const prompt = byId('prompt');
    for (const each of begun) {
      const resume = (): void => void this.begin(each.source, prettyName(each.name), true, prompt);
      const card = unfinishedCard(each, resume, () => discardCompression(each.id));
      byId('notices').append(card);
      requestAnimationFrame(() => card.scrollIntoView({ block: 'nearest' }));
    }
  }

  hide(): void {
    if (!this.#panel.isConnected) return;
    const held = this.#panel.contains(document.activeElement);
    this.#panel.remove();
    const { at } = this.#smaller.store.state.step;
    if (at === 'opening' || at === 'plan' || at === 'failed') void this.#smaller.close();
    this.#showPill();
    if (!held) return;
    const back = this.#opener?.isConnected && this.#opener.offsetParent ? this.#opener : byId('model-picker');
    (this.#pill.hidden ? back : this.#pill).focus();
  }

  #drop(event: DragEvent): void {
    const [file] = event.dataTransfer?.files ?? [];
    if (!file || this.#smaller.working) return;
    event.preventDefault();
    event.stopPropagation(); // not loaded for the chat as well
    void this.begin(file, prettyName(file.name));
  }

  #show({ step, name, plan }: SmallerState): void {
    this.#model.textContent = [name, plan && bytes(plan.bytes)].filter(Boolean).join(' · ');
    this.#model.hidden = name === '';
    if (step.at === 'work' && this.#work && this.#shown?.at === 'work' && this.#shown.job === step.job) this.#work.show(step);
    else this.#replace(step, plan);
    this.#shown = step;
    this.#announce(step);
    this.#showPill();
  }

  /** Another step. The focus stays in the panel if it was there; somebody who writes in the chat is not disturbed. */
  #replace(step: Step, plan: SmallerState['plan']): void {
    const held = this.#panel.contains(document.activeElement);
    const smaller = this.#smaller;
    this.#work = step.at === 'work' ? new WorkView(smaller, plan) : null;
    this.#work?.show(step as Step & { at: 'work' });
    const view =
      this.#work?.element ??
      (step.at === 'pick' ? picking(this.actions, (source, name) => void this.begin(source, name))
      : step.at === 'plan' && plan ? planned(smaller, plan)
      : step.at === 'choose' && plan ? choosing(smaller, plan, step)
      : step.at === 'done' && plan ? done(smaller, plan, step.result, { chat: this.actions.chat, save: saveModel, hide: () => this.hide() })
      : step.at === 'failed' ? failed(smaller, step)
      : opening(step.at === 'opening' ? step.done : null));
    this.#content.replaceChildren(view);
    this.#panel.dataset.step = step.at;
    if (held) (this.#content.querySelector<HTMLElement>('[data-first]') ?? this.#title).focus({ preventScroll: true });
  }

  #announce(step: Step): void {
    if (step.at !== 'work') this.#announced = 0;
    if (step.at === 'work' && step.progress) {
      const share = kAnnouncedShares[this.#announced];
      if (share === undefined || step.progress.total < share) return;
      this.#announced = kAnnouncedShares.filter((each) => each <= step.progress!.total).length;
      this.announcer.say(`Making it smaller: ${Math.floor(100 * step.progress.total)} percent.`);
    } else if (step.at === 'choose') this.announcer.say('The model is measured. Choose a size.');
    else if (step.at === 'done') this.announcer.say(`The smaller model is made: ${bytes(step.result.bytes)}.`);
  }

  #showPill(): void {
    const { step } = this.#smaller.store.state;
    const share = step.at === 'work' && step.progress ? `${Math.floor(100 * step.progress.total)} %` : '';
    const words = step.at === 'work' ? (step.paused ? 'Paused' : 'Smaller') : (kPill[step.at as keyof typeof kPill] ?? '');
    if (this.#pillWords.textContent !== words) this.#pillWords.textContent = words;
    if (this.#pillShare.textContent !== share) this.#pillShare.textContent = share;
    this.#pill.title = `Make it smaller: ${words} ${share}`;
    this.#pill.setAttribute('aria-label', this.#pill.title);
    this.#pill.hidden = words === '' || this.#panel.isConnected;
  }
}

const kPill = { choose: 'Choose a size', done: 'Made smaller' };
