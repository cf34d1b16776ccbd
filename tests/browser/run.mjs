// Runs the browser stories one after the other: `npm test [-- words]`, where the words choose stories whose names hold
// one of them. Prints each story with its time; the last line is `RESULT passed=N failed=N skipped=N`.

import { checkNeeds, inWorld } from './harness.mjs';
import { App } from './page.mjs';
import { stories as chat } from './stories/chat.mjs';
import { stories as load } from './stories/load.mjs';
import { stories as offline } from './stories/offline.mjs';
import { stories as broken } from './stories/broken.mjs';
import { stories as memory } from './stories/memory.mjs';
import { stories as embed } from './stories/embed.mjs';
import { stories as bench } from './stories/bench.mjs';
import { stories as sources } from './stories/sources.mjs';
import { stories as thinking } from './stories/thinking.mjs';
import { stories as picker } from './stories/picker.mjs';
import { stories as compress } from './stories/compress.mjs';
import { stories as compressFull } from './stories/compress_full.mjs';
import { stories as models } from './stories/models.mjs';

const kStoryMs = 150_000; // where a story names no limit of its own

const words = process.argv.slice(2).map((word) => word.toLowerCase());
const full = process.env.NUTSHELL_FULL !== undefined; // scripts/test --full
const all = [...chat, ...load, ...sources, ...thinking, ...picker, ...offline, ...broken, ...memory, ...embed, ...compress, ...bench, ...(full ? [...models, ...compressFull] : [])];
const chosen = all.filter(({ name }) => words.length === 0 || words.some((word) => name.toLowerCase().includes(word)));

async function run({ options = {}, ms = kStoryMs, work }) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${ms / 1000} s`)), ms);
  });
  const story = inWorld(options, (world) => Promise.race([late, work({ ...world, app: new App(world.page, world.server) })]));
  try {
    return await story;
  } finally {
    clearTimeout(timer);
    late.catch(() => undefined);
  }
}

let passed = 0;
let failed = 0;
try {
  checkNeeds();
  if (chosen.length === 0) throw new Error(`no story is called like ${words.join(', ')}`);
  for (const story of chosen) {
    const start = performance.now();
    const seconds = () => ((performance.now() - start) / 1000).toFixed(1);
    try {
      const note = await run(story);
      passed++;
      console.log(`ok      ${story.name} (${seconds()} s)${note ? ` ${note}` : ''}`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${story.name} (${seconds()} s)\n        ${error.stack?.split('\n').slice(0, 6).join('\n        ')}`);
    }
  }
} catch (error) {
  failed++;
  console.log(`FAILED  ${error.message}`);
}
console.log(`RESULT passed=${passed} failed=${failed} skipped=0`);
process.exit(failed > 0 ? 1 : 0);
