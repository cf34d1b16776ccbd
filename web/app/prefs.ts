// What the page remembers on this device and nowhere else: settings, the model last used, the last chat.
// Everything lies in localStorage under one prefix. Where storage is denied (private windows) the page works on
// with values kept in memory and `storageDenied()` says so.

import type { Turn } from './conversation.ts';

export interface Settings {
  system: string;
  thinking: boolean; // for models that can answer with or without
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  maxTokens: number;
  seed: number | null; // null: a new one for every answer
  contextSize: number | null; // null: the engine's default; used at the next load
  theme: 'auto' | 'light' | 'dark';
}

/** How the model last used is found again: the id under which the library loads it, and what to call it. */
export interface ModelRef {
  id: string; // an absolute URL, or the id of a model kept on this device
  name: string;
}

export interface SavedChat {
  messages: Turn[];
  completion: boolean;
}

export const kDefaults: Settings = {
  system: '',
  thinking: true,
  temperature: 0.5,
  topK: 40,
  topP: 0.9,
  minP: 0.05,
  repetitionPenalty: 1.1, // small models fall into loops without it
  maxTokens: 1024,
  seed: null,
  contextSize: null,
  theme: 'auto',
};

const kPrefix = 'nutshell.';
const fallback = new Map<string, string>();
let denied = false;

function read<T>(key: string): Partial<T> | null {
  let text: string | null = null;
  try {
    text = localStorage.getItem(kPrefix + key);
  } catch {
    denied = true;
  }
  text ??= fallback.get(key) ?? null;
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Partial<T>) : null;
  } catch {
    return null; // written by another version; as good as absent
  }
}

function write(key: string, value: unknown): void {
  const text = JSON.stringify(value);
  fallback.set(key, text);
  try {
    localStorage.setItem(kPrefix + key, text);
  } catch {
    denied = true;
  }
}

/** True once this browser refused to keep something. */
export function storageDenied(): boolean {
  return denied;
}

export function readSettings(): Settings {
  const saved = read<Settings>('settings') ?? {};
  const out: Record<string, unknown> = { ...kDefaults };
  for (const [key, standard] of Object.entries(kDefaults)) {
    const value = (saved as Record<string, unknown>)[key];
    const fits = standard === null ? value === null || Number.isFinite(value) : typeof value === typeof standard;
    if (fits && value !== undefined) out[key] = value;
  }
  return out as unknown as Settings;
}

export function writeSettings(settings: Settings): void {
  write('settings', settings);
}

export function readModel(): ModelRef | null {
  const saved = read<ModelRef>('model');
  return saved && typeof saved.id === 'string' && typeof saved.name === 'string' ? { id: saved.id, name: saved.name } : null;
}

export function writeModel(model: ModelRef): void {
  write('model', model);
}

/** The terms of models that were accepted here, as they were worded. */
export function hasAccepted(terms: string): boolean {
  const accepted = read<string[]>('terms');
  return Array.isArray(accepted) && accepted.includes(terms);
}

export function accept(terms: string): void {
  const accepted = read<string[]>('terms');
  write('terms', [...(Array.isArray(accepted) ? accepted : []), terms]);
}

export function readChat(): SavedChat {
  const saved = read<SavedChat>('chat');
  const messages = Array.isArray(saved?.messages)
    ? saved.messages.filter((m) => typeof m?.content === 'string' && (m.role === 'user' || m.role === 'assistant'))
    : [];
  return { messages, completion: saved?.completion === true };
}

export function writeChat(chat: SavedChat): void {
  write('chat', chat);
}
