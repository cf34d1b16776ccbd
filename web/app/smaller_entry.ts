// All that the first load of the page holds of "Make it smaller": how the rest is fetched when it is first wanted, and
// the look for work that an earlier visit left unfinished.

import { type CompressOptions, Compressor, listCompressions } from '../src/index.ts';
import type { Catalog } from './catalog.ts';
import { type Session, positive } from './session.ts';
import type { AppState, Store } from './state.ts';
import type { Announcer } from './ui/announce.ts';
import type { SmallerPanel } from './ui/smaller.ts';

/** What the panel wants from the page. */
export interface SmallerHost {
  store: Store<AppState>;
  session: Session;
  catalog: Catalog;
  announcer: Announcer;
  stopAnswer(): Promise<void>;
  chat(url: string, name: string): void;
  modelsChanged(): void;
}

export class SmallerEntry {
  #panel: Promise<SmallerPanel> | null = null;

  constructor(readonly host: SmallerHost) {}

  /** Opens the panel for a model of this device, or for the user to choose one. */
  async open(model: { url: string; name: string } | null, opener: HTMLElement): Promise<void> {
    const panel = await this.#get();
    await (model ? panel?.begin(model.url, model.name, false, opener) : panel?.pick(opener));
  }

  /** Offers to go on with what an earlier visit began. */
  async offerUnfinished(): Promise<void> {
    const begun = await listCompressions().catch(() => []);
    if (begun.length) (await this.#get())?.offer(begun);
  }

  #get(): Promise<SmallerPanel | null> {
    this.#panel ??= this.#fetch();
    return this.#panel.catch(() => {
      this.#panel = null;
      this.host.store.set({
        problem: {
          code: 'network',
          during: 'load',
          message: 'The part of this page that makes models smaller is not on this device yet.',
          advice: 'It is fetched when it is first wanted: connect to the network and try again. From then on it works offline.',
          ways: [],
        },
      });
      return null;
    });
  }

  async #fetch(): Promise<SmallerPanel> {
    const { store, session, catalog, announcer, stopAnswer, chat, modelsChanged } = this.host;
    const { SmallerPanel } = await import('./ui/smaller.ts');
    return new SmallerPanel({
      open: (source, options) => Compressor.open(source, { ...options, ...askedFor(session.query) }),
      needsRoom: (plan) => store.state.info !== null && plan.memoryBytes + store.state.info.memoryBytes > freeMemory(),
      makeRoom: async () => {
        await stopAnswer();
        await session.unload();
      },
      stored: modelsChanged,
      models: async () => (await catalog.offers()).filter(({ complete }) => complete).map(({ request, bytes }) => ({ name: request.name, url: request.source as string, bytes })),
      chat,
    }, announcer);
  }
}

/** For measuring: `?threads=1&windows=8&heldout=4` in the page's address. */
function askedFor(query: URLSearchParams): CompressOptions {
  const wishes = { threads: positive(query.get('threads')), windows: positive(query.get('windows')), heldOut: positive(query.get('heldout')) };
  return Object.fromEntries(Object.entries(wishes).filter(([, value]) => value !== undefined));
}

/** What a page may take of this device's memory; browsers tell it roughly, up to 8 GB, some not at all. */
function freeMemory(): number {
  const gigabytes = (navigator as { deviceMemory?: number }).deviceMemory;
  return gigabytes && gigabytes < 8 ? 0.6e9 * gigabytes : Infinity;
}
