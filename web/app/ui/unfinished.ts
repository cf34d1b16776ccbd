// The notices of work on smaller models that an earlier visit began: go on, or delete it.

import { prettyName } from '../session.ts';
import { bytes, h } from './dom.ts';

/** As the library's listCompressions() tells it. */
export interface Begun {
  id: string;
  source: string; // address of the model
  name: string;
  bytes: number | null; // null: no size was chosen yet
  done: number;
}

function words({ name, bytes: size, done }: Begun): string {
  const percent = `${Math.floor(100 * done)} % done`;
  if (size !== null) return `${prettyName(name)} at ${bytes(size)}: ${percent}`;
  return done < 1 ? `Making ${prettyName(name)} smaller: measuring, ${percent}` : `${prettyName(name)} is measured: choose a size for it`;
}

export function unfinishedCard(begun: Begun, resume: () => void, discard: () => Promise<void>): HTMLElement {
  const note = h('p', { class: 'card-note' }, 'It was begun on an earlier visit.');
  const go = h('button', { type: 'button', class: 'button', 'data-testid': 'smaller-resume' }, 'Resume');
  const drop = h('button', { type: 'button', class: 'button quiet', 'data-testid': 'smaller-discard' }, 'Discard');
  const card = h('div', { class: 'card', 'data-testid': 'smaller-unfinished' }, h('p', { class: 'card-title' }, words(begun)), note, h('div', { class: 'row ways' }, go, drop));
  go.addEventListener('click', () => {
    card.remove();
    resume();
  });
  drop.addEventListener('click', () => {
    drop.disabled = true;
    note.textContent = 'Deleting …';
    discard().then(
      () => card.remove(),
      (error: unknown) => {
        drop.disabled = false;
        note.textContent = error instanceof Error ? error.message : String(error);
      },
    );
  });
  return card;
}
