// Which models the page can offer: those its server lists in `models.json` (relative to the page) and those already on
// this device. Either list may be missing; the page works with what is there.

import { type StoredModel, listModels } from '../src/index.ts';
import { type LoadRequest, prettyName } from './session.ts';

export interface Offer {
  request: LoadRequest;
  bytes: number; // 0: not known
  storedBytes: number; // equal to `bytes` of a complete copy
  complete: boolean; // on this device, loads without a network
  served: boolean;
  license: string; // empty: not known
  memoryBytes: number; // weights, context and work space; 0: not known
}

interface Served {
  license: string;
  memoryBytes: number;
  terms: string;
  name: string;
  url: string;
  bytes: number;
  sha256?: string;
}

/** Reads `models.json`: `{default, models: [{name, url, bytes, memoryBytes, sha256, license, terms}]}`; only `url` (or `name`) is needed. */
function parseServed(value: unknown, base: string): { models: Served[]; standard: Served | null } {
  const root = (typeof value === 'object' && value !== null ? value : {}) as { models?: unknown; default?: unknown };
  const list: unknown[] = Array.isArray(value) ? value : Array.isArray(root.models) ? root.models : [];
  const models: Served[] = [];
  for (const item of list) {
    const entry = (typeof item === 'string' ? { url: item } : item) as Record<string, unknown> | null;
    const name = typeof entry?.['name'] === 'string' ? entry['name'] : undefined;
    const address = typeof entry?.['url'] === 'string' ? entry['url'] : name && `models/${name}`;
    if (!address) continue;
    const url = new URL(address, base);
    const sha256 = typeof entry?.['sha256'] === 'string' ? { sha256: entry['sha256'] } : {};
    const bytes = Number(entry?.['bytes'] ?? entry?.['size'] ?? 0) || 0;
    const text = (key: string) => (typeof entry?.[key] === 'string' ? entry[key] : '');
    const about = { license: text('license'), terms: text('terms'), memoryBytes: Number(entry?.['memoryBytes'] ?? 0) || 0 };
    models.push({ ...about, name: name ?? decodeURIComponent(url.pathname.split('/').pop() ?? ''), url: url.href, bytes, ...sha256 });
  }
  const marked = list.findIndex((item) => (item as { default?: unknown } | null)?.default === true);
  const wanted = typeof root.default === 'string' ? root.default : '';
  const named = models.find((m) => m.name === wanted || (wanted !== '' && m.url === new URL(wanted, base).href));
  return { models, standard: named ?? models[marked] ?? models[0] ?? null };
}

export class Catalog {
  #served: Served[] = [];
  standard: LoadRequest | null = null;

  /** `base`: the address of the app's folder. */
  constructor(private readonly base: string = document.baseURI) {}

  /** Asks the server once. A missing or broken list is an empty one. */
  async fetchServed(): Promise<void> {
    try {
      const response = await fetch(new URL('models.json', this.base), { cache: 'no-cache' });
      if (!response.ok) return;
      const { models, standard } = parseServed(await response.json(), this.base);
      this.#served = models;
      this.standard = standard && requestOf(standard);
    } catch {
      // offline or no list: what is on the device is still offered
    }
  }

  /** All offers, those on this device first. */
  async offers(): Promise<Offer[]> {
    let stored: StoredModel[] = [];
    try {
      stored = await listModels();
    } catch {
      // no storage in this window
    }
    const left = new Map(stored.map((model) => [model.url, model]));
    const offers = this.#served.map((served): Offer => {
      const copy = left.get(served.url);
      left.delete(served.url);
      const bytes = served.bytes || (copy?.bytes ?? 0);
      return { request: requestOf(served), bytes, storedBytes: copy?.storedBytes ?? 0, complete: copy?.complete === true, served: true, license: served.license, memoryBytes: served.memoryBytes };
    });
    for (const { url, name, bytes, storedBytes, complete } of left.values()) {
      offers.push({ request: { name: prettyName(name), source: url }, bytes, storedBytes, complete, served: false, license: '', memoryBytes: 0 });
    }
    return offers.sort((a, b) => Number(b.complete) - Number(a.complete));
  }

  /** The request for an address, with what the server's list knows of it. */
  find(url: string): LoadRequest | null {
    const served = this.#served.find((model) => model.url === url);
    return served ? requestOf(served) : null;
  }
}

function requestOf({ name, url, sha256, terms }: Served): LoadRequest {
  return { name: prettyName(name), source: url, ...(sha256 ? { sha256 } : {}), ...(terms ? { terms } : {}) };
}
