// The model panel: what this site serves, what is on this device, an address, a local file. With no model it stands in
// the page itself; with one it opens under the header. It only makes requests; loading is the session's.

import { deleteModel } from '../../src/index.ts';
import type { Catalog, Offer } from '../catalog.ts';
import { type LoadRequest, prettyName, urlRequest } from '../session.ts';
import { accept, hasAccepted } from '../prefs.ts';
import type { Phase } from '../state.ts';
import { byId, bytes, h, icon, iconButton } from './dom.ts';

export class ModelPanel {
  readonly #picker = byId<HTMLButtonElement>('model-picker');
  readonly #overlay = byId('overlay');
  readonly #welcome = byId('welcome');
  readonly #list = h('ul', { class: 'offers' });
  readonly #url = h('input', { type: 'text', id: 'model-url', 'data-testid': 'model-url', inputmode: 'url', spellcheck: 'false', autocapitalize: 'off', class: 'field', placeholder: 'https://…/model.gguf' });
  readonly #file = h('input', { type: 'file', id: 'model-file', 'data-testid': 'model-file', multiple: true, accept: '.gguf,.safetensors,.json,.txt,.jinja,.model', class: 'hide' });
  readonly #folder = h('input', { type: 'file', id: 'model-folder', 'data-testid': 'model-folder', webkitdirectory: true, class: 'hide' });
  readonly #keep = h('input', { type: 'checkbox', id: 'model-keep' });
  readonly #panel: HTMLElement;
  #inPage = false;
  #loading = false;
  #lastFiles: File[] = [];

  constructor(
    readonly catalog: Catalog,
    readonly load: (request: LoadRequest) => void,
    readonly current: () => string | null, // address of the model that answers
    readonly smaller: (model: { url: string; name: string } | null, opener: HTMLElement) => void, // null: the user chooses there
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

  /** `folder`: what they lie in, if they were given with it. */
  loadFiles(files: File[], folder = ''): void {
    const [first] = files;
    if (!first) return;
    this.#lastFiles = files;
    const name = folder || prettyName(first.name.replace(/-\d{5}-of-\d{5}(?=\.gguf$)/, ''));
    this.load({ name, source: files.length === 1 ? first : files, ...(this.#keep.checked ? { keep: true } : {}) });
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
    const words = [offer.bytes ? bytes(offer.bytes) : '', use ? 'in use' : where, offer.license].filter(Boolean).join(' · ');
    const memory = memoryWords(offer.memoryBytes);
    const pick = h('button', { type: 'button', class: 'offer', 'aria-current': use ? 'true' : undefined, onclick: () => this.#choose(request) },
      icon(complete ? 'device' : 'served'), h('span', { class: 'offer-name' }, request.name), h('span', { class: 'offer-note' }, words),
      memory && h('span', { class: memory.tight ? 'offer-note tight' : 'offer-note' }, memory.text));
    const remove = storedBytes > 0 && !use && iconButton('bin', `Delete ${request.name} from this device`, () => void this.#remove(address));
    const shrink = complete && iconButton('smaller', `Make ${request.name} smaller`, () => this.#smaller({ url: address, name: request.name }));
    return h('li', {}, pick, shrink, remove);
  }

  /** Loads it once its terms, if it has some, were accepted. */
  #choose(request: LoadRequest): void {
    const { terms, name } = request;
    if (!terms || hasAccepted(terms)) return this.load(request);
    const agree = h('button', { type: 'button', class: 'button', 'data-testid': 'terms-accept' }, 'I agree, load it');
    const decline = h('button', { type: 'button', class: 'button quiet' }, 'Not now');
    const dialog = h('dialog', { class: 'panel terms', 'aria-labelledby': 'terms-title', 'data-testid': 'terms' },
      h('h2', { id: 'terms-title' }, `Terms of ${name}`), h('p', {}, terms), h('div', { class: 'row' }, agree, decline));
    agree.addEventListener('click', () => {
      accept(terms);
      dialog.close();
      this.load(request);
    });
    decline.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => dialog.remove());
    // Not inside the panel: it may be redrawn meanwhile. Escape closes the dialog alone.
    dialog.addEventListener('keydown', (event) => event.stopPropagation());
    document.body.append(dialog);
    dialog.showModal();
  }

  /** The panel goes; the other one takes its place. */
  #smaller(model: { url: string; name: string } | null): void {
    this.close();
    this.smaller(model, this.#picker);
  }

  async #remove(address: string): Promise<void> {
    await deleteModel(address);
    await this.refresh();
    this.#url.focus();
  }

  #build(): HTMLElement {
    for (const input of [this.#file, this.#folder])
      input.addEventListener('change', () => {
        // A folder's input gives all below it; the model's files lie at its top.
        const files = [...(input.files ?? [])].filter((file) => file.webkitRelativePath.split('/').length <= 2);
        input.value = '';
        this.loadFiles(files, files[0]?.webkitRelativePath.split('/')[0]);
      });
    const form = h('form', { class: 'row', onsubmit: (event: Event) => this.#submitUrl(event) },
      h('label', { class: 'hide', for: 'model-url' }, 'Address of a model'), this.#url,
      h('button', { type: 'submit', class: 'button', 'data-testid': 'model-load' }, 'Load'));
    const file = h('div', { class: 'row file-row' }, this.#file, h('label', { class: 'button quiet', for: 'model-file' }, icon('file'), 'Open a file'),
      this.#folder, h('label', { class: 'button quiet', for: 'model-folder' }, 'or a folder'),
      h('label', { class: 'check' }, this.#keep, 'Keep a copy on this device'));
    const smaller = h('button', { type: 'button', class: 'button quiet', 'data-testid': 'smaller-open', onclick: () => this.#smaller(null) }, icon('smaller'), 'Make a model smaller');
    return h('section', { class: 'panel', role: 'dialog', 'aria-label': 'Models' }, h('h2', {}, 'Models'), this.#list, form, file, smaller,
      h('p', { class: 'hint' }, 'A GGUF file of a supported kind, all parts of a split one, or a Hugging Face folder. A model is fetched once and then lives on this device.'));
  }

  #submitUrl(event: Event): void {
    event.preventDefault();
    const address = this.#url.value.trim();
    if (!address && this.#loading) return; // a file was just chosen and is being read
    if (!address && this.#lastFiles.length) return this.loadFiles(this.#lastFiles);
    const request = address ? urlRequest(address) : this.catalog.standard;
    if (!request) return this.#url.focus();
    this.#choose(typeof request.source === 'string' ? (this.catalog.find(request.source) ?? request) : request);
  }
}

/** The engine's address space; no device can give it more. */
const kEngineLimit = 4e9;

/** What a model takes against what this device is known to have (browsers tell it roughly, some not at all). */
function memoryWords(needs: number): { text: string; tight: boolean } | null {
  if (!needs) return null;
  const gigabytes = (navigator as { deviceMemory?: number }).deviceMemory;
  const has = Math.min(kEngineLimit, gigabytes ? gigabytes * 1e9 : kEngineLimit);
  if (needs > has) return { text: `needs ${bytes(needs)} of memory, more than this device has`, tight: true };
  return { text: `needs ${bytes(needs)} of memory${gigabytes ? ', which this device has' : ''}`, tight: false };
}
