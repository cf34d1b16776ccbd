// Stories of embedding models: the real MiniLM from its files against the golden vectors, and who cannot do what.

import { cp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { check, equal, kMiniLm, kRoot } from '../harness.mjs';

const kFiles = ['config.json', 'tokenizer.json', 'model.safetensors'];
// Every so many of the golden texts; among them hard Unicode and one that is cut.
const kStep = 9;

/** The golden texts with their vectors (how they are stored: scripts/golden/make_embeddings.py). */
async function goldenTexts() {
  const { head, texts } = JSON.parse(await readFile(path.join(kRoot, 'tests/golden/embeddings/minilm.json'), 'utf8'));
  const vectorOf = ({ vector, scale }) =>
    Array.from({ length: vector.length / 2 }, (_, i) => (head.alphabet.indexOf(vector[2 * i]) * 64 + head.alphabet.indexOf(vector[2 * i + 1]) - 2048) / 2047 * scale);
  const chosen = texts.filter(({ truncated }, index) => truncated || index % kStep === 0);
  return { chosen: chosen.map((entry) => ({ ...entry, vector: vectorOf(entry) })), storageAngle: head.storage_angle };
}

function angle(a, b) {
  const [lengthA, lengthB] = [Math.hypot(...a), Math.hypot(...b)];
  return 2 * Math.asin(Math.min(1, Math.hypot(...a.map((x, i) => x / lengthA - b[i] / lengthB)) / 2));
}

async function embeds({ app, server }) {
  for (const file of kFiles) await cp(path.join(kMiniLm, file), path.join(server.root, 'files', file));
  const { chosen, storageAngle } = await goldenTexts();
  check(chosen.some(({ truncated }) => truncated), 'no text is cut');
  await app.open('?load=0');
  const result = await app.library(async ({ Nutshell }, { files, texts }) => {
    const engine = await Nutshell.load(files.map((file) => new URL(`files/${file}`, document.baseURI).href));
    const start = performance.now();
    const { embeddings, tokens, truncated } = await engine.embed(texts);
    const ms = performance.now() - start;
    const codeOf = (work) => work.then(() => 'none', (error) => error.code);
    const first = async (pieces) => (await pieces.next()).value;
    const codes = [
      await codeOf(first(engine.chat([{ role: 'user', content: 'Hi' }]))),
      await codeOf(first(engine.generate('Hi'))),
    ];
    const again = await engine.embed(texts.slice(0, 1));
    const { embeddingSize, architecture } = engine.info.model;
    await engine.dispose();
    return {
      embeddings: embeddings.map((vector) => [...vector]), same: again.embeddings[0].every((x, i) => x === embeddings[0][i]),
      tokens, truncated, codes, embeddingSize, architecture, ms,
    };
  }, { files: kFiles, texts: chosen.map(({ text }) => text) });
  equal([result.architecture, result.embeddingSize], ['bert', 384], 'what was loaded');
  equal(result.tokens, chosen.map(({ tokens }) => tokens), 'tokens');
  equal(result.truncated, chosen.map(({ truncated }) => truncated), 'what was cut');
  equal(result.codes, ['no_generation', 'no_generation'], 'chat and generate');
  check(result.same, 'the same text again has another vector');
  const angles = result.embeddings.map((vector, i) => angle(vector, chosen[i].vector));
  const largest = Math.max(...angles);
  check(largest < Math.acos(0.9999) - storageAngle, `cosine ${Math.cos(largest)} with transformers`);
  const read = result.tokens.reduce((sum, n) => sum + n, 0);
  return `(${chosen.length} texts, ${(read / result.ms * 1000).toFixed(0)} tokens/s, largest angle ${largest.toExponential(1)})`;
}

async function languageModel({ app }) {
  await app.open('?load=0');
  const { code, advice } = await app.library(async ({ Nutshell }, _, model) => {
    const engine = await Nutshell.load(model);
    const error = await engine.embed(['a']).then(() => ({}), ({ code, advice }) => ({ code, advice }));
    await engine.dispose();
    return error;
  });
  equal(code, 'no_embeddings', 'code');
  check(/MiniLM/.test(advice), advice);
}

export const stories = [
  { name: 'MiniLM embeds as transformers does; it writes nothing', work: embeds },
  { name: 'a language model gives no embeddings and says what does', work: languageModel },
];
