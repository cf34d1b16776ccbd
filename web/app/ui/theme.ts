// Dark and light: as the system says, or as the user chose. The colours are in styles/base.css.

import type { Settings } from '../prefs.ts';

const system = matchMedia('(prefers-color-scheme: dark)');

export function isDark(theme: Settings['theme']): boolean {
  return theme === 'auto' ? system.matches : theme === 'dark';
}

export function applyTheme(theme: Settings['theme']): void {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const colour = getComputedStyle(document.documentElement).getPropertyValue(isDark(theme) ? '--paper-dark' : '--paper-light');
  document.querySelector('meta[name="theme-color"]')?.setAttribute('content', colour.trim());
}

export function onSystemTheme(listener: () => void): void {
  system.addEventListener('change', listener);
}
