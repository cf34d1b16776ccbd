// The settings dialog: system prompt, sampling, context, appearance. A change counts at once and is kept on this device.

import { type Settings, kDefaults } from '../prefs.ts';
import { byId, h, iconButton } from './dom.ts';

interface NumberField {
  key: 'temperature' | 'topK' | 'topP' | 'minP' | 'repetitionPenalty' | 'maxTokens' | 'seed' | 'contextSize';
  label: string;
  hint: string;
  min: number;
  max: number;
  step: number;
}

const kFields: NumberField[] = [
  { key: 'temperature', label: 'Temperature', hint: '0 always takes the likeliest word', min: 0, max: 2, step: 0.05 },
  { key: 'topP', label: 'Top-p', hint: 'Keep the likeliest words up to this share; 1 is off', min: 0.01, max: 1, step: 0.01 },
  { key: 'topK', label: 'Top-k', hint: 'Keep this many words; 0 is off', min: 0, max: 1000, step: 1 },
  { key: 'minP', label: 'Min-p', hint: 'Drop words this much rarer than the likeliest; 0 is off', min: 0, max: 1, step: 0.01 },
  { key: 'repetitionPenalty', label: 'Repetition penalty', hint: 'Makes words that were said less likely; 1 is off', min: 0.5, max: 2, step: 0.05 },
  { key: 'maxTokens', label: 'Longest answer', hint: 'In tokens', min: 1, max: 32768, step: 1 },
  { key: 'seed', label: 'Seed', hint: 'Empty: a new one for every answer', min: 0, max: 4294967295, step: 1 },
  { key: 'contextSize', label: 'Context', hint: 'Tokens the model can look back on; used at the next load', min: 64, max: 131072, step: 1 },
];

export class SettingsDialog {
  readonly #dialog = h('dialog', { class: 'drawer', 'aria-labelledby': 'settings-title' });
  #settings: Settings;

  constructor(
    settings: Settings,
    readonly onChange: (settings: Settings) => void,
  ) {
    this.#settings = settings;
    document.body.append(this.#dialog);
    byId('settings').addEventListener('click', () => this.open());
    this.#dialog.addEventListener('click', (event) => event.target === this.#dialog && this.#dialog.close());
  }

  open(): void {
    this.#fill();
    this.#dialog.showModal();
  }

  /** Takes a change made elsewhere (the theme button). */
  take(settings: Settings): void {
    this.#settings = settings;
  }

  #change(change: Partial<Settings>): void {
    this.#settings = { ...this.#settings, ...change };
    this.onChange(this.#settings);
  }

  #fill(): void {
    const system = h('textarea', { id: 'set-system', class: 'field', rows: '4', placeholder: 'You are a helpful assistant. Answer briefly.', oninput: () => this.#change({ system: system.value }) });
    system.value = this.#settings.system;
    const theme = h('select', { id: 'set-theme', class: 'field', onchange: () => this.#change({ theme: theme.value as Settings['theme'] }) },
      ...(['auto', 'light', 'dark'] as const).map((value) => h('option', { value }, { auto: 'As the system', light: 'Light', dark: 'Dark' }[value])));
    theme.value = this.#settings.theme;
    const thinking = h('select', { id: 'set-thinking', class: 'field', onchange: () => this.#change({ thinking: thinking.value === 'on' }) },
      h('option', { value: 'on' }, 'Think first'), h('option', { value: 'off' }, 'Answer at once'));
    thinking.value = this.#settings.thinking ? 'on' : 'off';
    const reset = h('button', { type: 'button', class: 'button quiet', onclick: () => (this.#change({ ...kDefaults, theme: this.#settings.theme }), this.#fill()) }, 'Standard values');
    this.#dialog.replaceChildren(
      h('div', { class: 'row drawer-head' }, h('h2', { id: 'settings-title' }, 'Settings'), iconButton('close', 'Close', () => this.#dialog.close())),
      labelled('set-system', 'System prompt', 'What the model is told before the chat', system),
      h('div', { class: 'grid' }, ...kFields.map((field) => this.#number(field))),
      labelled('set-thinking', 'Thinking', 'For models that can do both', thinking),
      labelled('set-theme', 'Appearance', '', theme),
      h('div', { class: 'row' }, reset, h('span', { class: 'hint' }, 'Kept on this device only.')),
    );
  }

  #number({ key, label, hint, min, max, step }: NumberField): HTMLElement {
    const id = `set-${key}`;
    const nullable = kDefaults[key] === null;
    const take = (): void => {
      const value = input.value.trim() === '' ? null : Number(input.value);
      const whole = step === 1 && value !== null ? Number.isInteger(value) : true;
      const good = value === null ? nullable : Number.isFinite(value) && value >= min && value <= max && whole;
      input.setAttribute('aria-invalid', String(!good));
      if (good) this.#change({ [key]: value });
    };
    const input = h('input', { id, class: 'field', type: 'number', min, max, step: step === 1 ? '1' : 'any', placeholder: nullable ? 'automatic' : undefined, oninput: take });
    const value = this.#settings[key];
    input.value = value === null ? '' : String(value);
    return labelled(id, label, hint, input);
  }
}

function labelled(id: string, label: string, hint: string, control: HTMLElement): HTMLElement {
  if (hint) control.setAttribute('aria-describedby', `${id}-hint`);
  return h('div', { class: 'setting' }, h('label', { for: id }, label), control, hint && h('p', { class: 'hint', id: `${id}-hint` }, hint));
}
