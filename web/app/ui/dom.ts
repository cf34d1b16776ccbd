// Small helpers for building elements and for writing numbers the way people read them.
// No HTML strings here: text always becomes a text node.

type Child = Node | string | null | undefined | false;
type Props = Record<string, unknown>;

/** Makes an element. Props that start with `on` are listeners; booleans are properties; the rest are attributes. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value as EventListener);
    else if (typeof value === 'boolean') (element as unknown as Props)[name] = value;
    else element.setAttribute(name, String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/** The element with this id; its absence is a mistake in index.html. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element as T;
}

const kPaths: Record<string, string> = {
  copy: 'M9 9h10v10H9zM5 15V5h10',
  done: 'M5 12.5l4.5 4.5L19 7.5',
  again: 'M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4',
  close: 'M6 6l12 12M18 6L6 18',
  file: 'M7 3h7l4 4v14H7zM14 3v4h4',
  device: 'M4 5h16v11H4zM9 20h6M12 16v4',
  served: 'M12 4v11M7 11l5 5 5-5M5 20h14',
  bin: 'M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13',
  smaller: 'M4 12h6M7 9l3 3-3 3M20 12h-6M17 9l-3 3 3 3M12 4v16',
  shield: 'M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6z',
};

export function icon(name: string): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', kPaths[name] ?? '');
  svg.append(path);
  return svg;
}

/** A button of an icon and, if given, words. `label` is what screen readers and tooltips say. */
export function iconButton(name: string, label: string, onclick: () => void, words = '', props: Props = {}): HTMLButtonElement {
  return h('button', { type: 'button', class: 'small', title: label, 'aria-label': label, onclick, ...props }, icon(name), words && h('span', {}, words));
}

/** With a capital, unless it begins with an address or the name of a file. */
export function sentence(text: string): string {
  return /^([a-z]+:|\S*\.\S)/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}

export function bytes(count: number): string {
  if (!Number.isFinite(count)) return '?';
  if (count < 1e3) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(0)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
  return `${(count / 1e9).toFixed(2)} GB`;
}

export function seconds(count: number): string {
  if (count < 1) return 'under a second';
  if (count < 60) return `${Math.round(count)} s`;
  if (count < 3600) return `${Math.floor(count / 60)} min ${Math.round(count % 60)} s`;
  return `${(count / 3600).toFixed(1)} h`;
}

/** Copies text and shows a tick on the button for a moment. */
export async function copyText(text: string, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return; // permission denied: the text stays selectable
  }
  const before = button.querySelector('svg');
  const tick = icon('done');
  before?.replaceWith(tick);
  setTimeout(() => before && tick.replaceWith(before), 1200);
}
