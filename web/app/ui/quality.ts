// What a divergence means to a person. KL is the mean over tokens of D(original || smaller) in nats. The steps
// follow llama.cpp's formats on SmolLM2, whose standing people know: IQ4_XS measures .11, IQ3_XXS about .5.

const kWords: { upTo: number; words: string }[] = [
  { upTo: 0.03, words: 'hard to tell from the original' },
  { upTo: 0.12, words: 'close to the original' },
  { upTo: 0.25, words: 'a little worse than the original' },
  { upTo: 0.5, words: 'clearly worse than the original' },
  { upTo: 1, words: 'much worse than the original' },
  { upTo: Infinity, words: 'hardly usable' },
];

export function qualityWords(kl: number): string {
  return kWords.find(({ upTo }) => kl <= upTo)?.words ?? '';
}

/** `0.10`; small ones keep two digits that say something. */
export function klNumber(kl: number): string {
  return kl < 0.1 ? kl.toPrecision(2) : kl.toFixed(2);
}
