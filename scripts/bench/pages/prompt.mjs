// The prompt of every measurement: token ids that look random and are the same for every engine and run. What they say does
// not matter for the speed of a dense model. Ids below 1000 are left out: special tokens and single bytes live there.
export function promptIds(count, vocabulary = 30000) {
  const span = Math.min(30000, vocabulary) - 1000;
  let state = 12345;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return 1000 + ((state >> 8) % span);
  });
}

const kWords = ('time year people way day man thing woman life child world school state family student group country problem '
  + 'hand part place case week company system program question work government number night point home water room mother '
  + 'area money story fact month lot right study book eye job word business issue side kind head house service friend').split(' ');

/** The same for an engine that takes text only: words that are one token each in every usual vocabulary. */
export function promptText(count) {
  return promptIds(count).map((id) => ` ${kWords[id % kWords.length]}`).join('');
}

/** A question whose answer repeats much of it: what people ask of a model that helps with code or texts. */
export const kEditQuestion = `Rename the variable "total" to "sum" in this code. Answer with the whole code only.

function average(numbers) {
  let total = 0;
  for (const number of numbers) {
    total += number;
  }
  if (numbers.length === 0) {
    throw new Error('no numbers');
  }
  return total / numbers.length;
}

function variance(numbers) {
  const middle = average(numbers);
  let total = 0;
  for (const number of numbers) {
    total += (number - middle) * (number - middle);
  }
  return total / numbers.length;
}`;
