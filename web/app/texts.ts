// The texts that making a model smaller calibrates on and measures with, as the server of this page has them (see
// scripts/calibration). A server without them is no mistake: the library then works without texts.

export interface Texts {
  calibration: string[];
  evaluation: string[];
}

/** Both sets, or null where the server does not have all of them. */
export async function fetchTexts(base: string = document.baseURI): Promise<Texts | null> {
  const texts: Texts = { calibration: [], evaluation: [] };
  for (const set of ['calibration', 'evaluation'] as const) {
    for (const ending of ['txt', 'jsonl']) {
      const response = await fetch(new URL(`calibration/${set}.${ending}`, base)).catch(() => null);
      if (!response?.ok) return null;
      texts[set].push(await response.text());
    }
  }
  return texts;
}
