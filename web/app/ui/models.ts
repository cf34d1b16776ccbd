// The model panel: what this site serves, what is on this device, an address, a local file. With no model it stands in
// the page itself; with one it opens under the header. It only makes requests; loading is the session's.

import { deleteModel } from '../../src/index.ts';
import type { Catalog, Offer } from '../catalog.ts';
import { type LoadRequest, prettyName, urlRequest } from '../session.ts';
import type { Phase } from '../state.ts';
import { byId, bytes, h, icon, iconButton } from './dom.ts';

export class ModelPanel {
  readonly #picker = byId<HTMLButtonElement>('model-picker');
  readonly #overlay = byId('overlay');
  readonly #welcome = byId('welcome');
  readonly #list = h('ul', { class: 'offers' });
  readonly #url = h('input', { type: 'text', id: 'model-url', 'data-testid': 'model-url', inputmode: 'url', spellcheck: 'false', autocapitalize: 'off', class: 'field', placeholder: 'https://…/model.gguf' });
  readonly #file = h('input', { type: 'file', id: 'model-file', 'data-testid': 'model-file', accept: '.gguf', class: 'hide' });
  readonly #keep = h('input', { type: 'checkbox', id: 'model-keep' });
  readonly #panel: HTMLElement;
  #inPage = false;
  #loading = false;
  #lastFile: File | null = null;

  constructor(
    readonly catalog: Catalog,
    readonly load: (request: LoadRequest) => void,
    readonly current: () => string | null, // address of the model that answers
  ) {
    this.#panel = this.#build();
    this.#picker.addEventListener('click', () => this.open());
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || this.#inPage || !this.#panel.isConnected) return;
      event.preventDefault(); // Escape stops an answer only when no panel is open
      this.close();
      this.#picker.focus();
    });
    document.addEventListener('pointerdown', (event) => {
      const target = event.target as Node;
      if (!this.#overlay.contains(target) && !this.#picker.contains(target)) this.close();
    });
  }

  /** Shows the panel; opening what is open puts the focus there again. */
  open(): void {
    if (!this.#inPage) {
      this.#overlay.append(this.#panel);
      this.#picker.setAttribute('aria-expanded', 'true');
    }
    void this.refresh().then(() => (this.#list.querySelector<HTMLElement>('button') ?? this.#url).focus());
  }

  close(): void {
    if (this.#inPage || !this.#panel.isConnected) return;
    this.#panel.remove();
    this.#picker.setAttribute('aria-expanded', 'false');
  }

  /** With no model the panel is part of the page and cannot be closed; a load that starts by itself does not show it. */
  setInPage(noModel: boolean, phase: Phase): void {
    this.#loading = phase === 'loading';
    const inPage = noModel && (this.#inPage || phase !== 'loading');
    if (inPage === this.#inPage) return;
    this.#inPage = inPage;
    if (inPage) {
      this.#welcome.append(this.#panel);
      void this.refresh();
    } else {
      this.#panel.remove();
    }
    this.#picker.setAttribute('aria-expanded', 'false');
  }

  /** Opens the system's file dialog. */
  openFile(): void {
    this.#file.click();
  }

  loadFile(file: File): void {
    this.#lastFile = file;
    this.load({ name: prettyName(file.name), source: file, ...(this.#keep.checked ? { keep: true } : {}) });
  }

  async refresh(): Promise<void> {
    const offers = await this.catalog.offers();
    this.#list.replaceChildren(...offers.map((offer) => this.#row(offer)));
    this.#list.hidden = offers.length === 0;
    const standard = this.catalog.standard;
    const address = typeof standard?.source === 'string' ? standard.source : 'https://…/model.gguf';
    this.#url.placeholder = address.replace(new URL('.', document.baseURI).href, '');
  }

  #row(offer: Offer): HTMLElement {
    const { request, complete, storedBytes, served } = offer;
    const address = request.source as string;
    const use = address === this.current();
    const partly = !complete && storedBytes > 0 ? `${bytes(storedBytes)} already here` : '';
    const where = complete ? 'on this device' : partly || (served ? 'from this site' : 'from its address');
    const words = [offer.bytes ? bytes(offer.bytes) : '', use ? 'in use' : where].filter(Boolean).join(' · ');
    const pick = h('button', { type: 'button', class: 'offer', 'aria-current': use ? 'true' : undefined, onclick: () => this.load(request) },
      icon(complete ? 'device' : 'served'), h('span', { class: 'offer-name' }, request.name), h('span', { class: 'offer-note' }, words));
    const remove = storedBytes > 0 && !use && iconButton('bin', `Delete ${request.name} from this device`, () => void this.#remove(address));
    return h('li', {}, pick, remove);
  }

  async #remove(address: string): Promise<void> {
    await deleteModel(address);
    await this.refresh();
    this.#url.focus();
  }

  #build(): HTMLElement {
    this.#file.addEventListener('change', () => {
      const file = this.#file.files?.[0];
      this.#file.value = '';
      if (file) this.loadFile(file);
    });
    const form = h('form', { class: 'row', onsubmit: (event: Event) => this.#submitUrl(event) },
      h('label', { class: 'hide', for: 'model-url' }, 'Address of a model'), this.#url,
      h('button', { type: 'submit', class: 'button', 'data-testid': 'model-load' }, 'Load'));
    const file = h('div', { class: 'row file-row' }, this.#file, h('label', { class: 'button quiet', for: 'model-file' }, icon('file'), 'Open a file'),
      h('label', { class: 'check' }, this.#keep, 'Keep a copy on this device'));
    return h('section', { class: 'panel', role: 'dialog', 'aria-label': 'Models' }, h('h2', {}, 'Models'), this.#list, form, file,
      h('p', { class: 'hint' }, 'Any GGUF file of a supported kind. A model is fetched once and then lives on this device.'));
  }

  #submitUrl(event: Event): void {
    event.preventDefault();
    const address = this.#url.value.trim();
    if (!address && this.#loading) return; // a file was just chosen and is being read
    if (!address && this.#lastFile) return this.loadFile(this.#lastFile);
    const request = address ? urlRequest(address) : this.catalog.standard;
    if (!request) return this.#url.focus();
    this.load(typeof request.source === 'string' ? (this.catalog.find(request.source) ?? request) : request);
  }
}
