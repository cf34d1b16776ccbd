// The one place that holds what the page shows. Views subscribe, controllers set; a view never talks to another view.

import type { EngineInfo, LoadProgress } from '../src/index.ts';

export type Phase = 'empty' | 'loading' | 'ready' | 'answering' | 'error';

/** An error as the page shows it: what happened, what to do, and the ways out that make sense. */
export interface Problem {
  code: string;
  during: 'load' | 'answer';
  message: string;
  advice: string;
  ways: Way[];
}
export type Way = 'retry' | 'pick' | 'file' | 'new-chat' | 'completion' | 'unload';

export interface Progress extends LoadProgress {
  name: string;
}

export interface AppState {
  phase: Phase;
  modelName: string | null;
  info: EngineInfo | null;
  progress: Progress | null;
  problem: Problem | null;
  tokensPerSecond: number | null;
  requests: number; // requests that left the page since the model was ready
  shell: 'none' | 'ready' | 'unavailable'; // whether the service worker can open this page offline
  shellNote: string; // why not, in words
  completion: boolean; // plain completion: the model has no chat template
  storageDenied: boolean;
}

export class Store<T extends object> {
  #state: T;
  #listeners: ((state: T, changed: Partial<T>) => void)[] = [];

  constructor(initial: T) {
    this.#state = initial;
  }

  get state(): Readonly<T> {
    return this.#state;
  }

  set(change: Partial<T>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener(this.#state, change);
  }

  /** Calls `listener` now and after every change. */
  subscribe(listener: (state: T, changed: Partial<T>) => void): void {
    this.#listeners.push(listener);
    listener(this.#state, this.#state);
  }
}

export function initialState(): AppState {
  return {
    phase: 'empty',
    modelName: null,
    info: null,
    progress: null,
    problem: null,
    tokensPerSecond: null,
    requests: 0,
    shell: 'none',
    shellNote: '',
    completion: false,
    storageDenied: false,
  };
}
