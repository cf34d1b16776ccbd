// Models in several files: parts of a split model and folders, from addresses and from local files.
import { modelsOf } from '../../web/src/store/shelf.ts';
import type { LoadProgress } from '../../web/src/types.ts';
import { failure, FakeWorld } from './support/fake_world.ts';
import { modelBytes } from './support/fake_server.ts';

const kBase = 'https://models.test/tiny/';
const kParts = [1, 2, 3].map((part) => `a-0000${part}-of-00003.gguf`);

function splitWorld(): FakeWorld {
  const world = new FakeWorld();
  for (const [index, name] of kParts.entries()) world.server.others.set(name, modelBytes(2000 + index, 5 + index));
  return world;
}

const allBytes = (world: FakeWorld) => kParts.flatMap((name) => [...world.server.others.get(name)!]);
const urls = kParts.map((name) => kBase + name);

test('an array of addresses is one model: every file stored once, found again by the first', async () => {
  const world = splitWorld();
  const seen: LoadProgress[] = [];
  const engine = await world.load(urls, { onProgress: (progress) => seen.push(progress) });
  expect(world.lastCore.files).toEqual(kParts.map((name, index) => ({ name, bytes: 2000 + index })));
  expect(world.lastCore.loaded).toEqual(allBytes(world));
  expect([engine.info.stored, engine.info.model.url]).toEqual([true, urls[0]]);
  expect(seen.at(-1)).toMatchObject({ loadedBytes: 6003, totalBytes: 6003 });
  expect(world.store.open).toBe(0);
  const listed = modelsOf(await world.store.list());
  expect(listed).toMatchObject([{ url: urls[0], name: 'a', bytes: 6003, storedBytes: 6003, complete: true }]);
  world.server.offline = true;
  await world.load(urls[0]);
  expect(world.lastCore.loaded).toEqual(allBytes(world));
  expect(world.server.requests.length).toBe(3);
});

test('the address of a first part stands for all parts', async () => {
  const world = splitWorld();
  await world.load(urls[0]);
  expect(world.lastCore.files.map((file) => file.name)).toEqual(kParts);
  expect(world.lastCore.loaded).toEqual(allBytes(world));
});

test('a broken-off download of several files goes on where each stopped', async () => {
  const world = splitWorld();
  world.server.breakAfter = [Infinity, 1400, Infinity, 0, 0, 0, 0];
  expect((await failure(world.load(urls))).code).toBe('network');
  const listed = await world.store.list();
  expect(listed.every((record) => !record.complete)).toBe(true);
  world.server.breakAfter = [];
  world.server.requests.length = 0;
  await world.load(urls);
  expect(world.lastCore.loaded).toEqual(allBytes(world));
  expect(world.server.requests).toContain('bytes=1400-');
});

test('local files: order and names as given, what is no model file is left out, kept together', async () => {
  const world = new FakeWorld();
  const part = (name: string, length: number) => new File([modelBytes(length) as BlobPart], name);
  const engine = await world.load([part('config.json', 100), part('photo.png', 9), part('model.safetensors', 300)], { keep: true, name: 'mine' });
  expect(world.lastCore.files).toEqual([{ name: 'config.json', bytes: 100 }, { name: 'model.safetensors', bytes: 300 }]);
  expect(engine.info.stored).toBe(true);
  expect(modelsOf(await world.store.list())).toMatchObject([{ name: 'mine', bytes: 400, complete: true }]);
  await world.load(engine.info.model.url!);
  expect(world.lastCore.files.map((file) => file.name)).toEqual(['config.json', 'model.safetensors']);
  expect(world.lastCore.loaded.length).toBe(400);
});

test('a directory handle is read for its model files', async () => {
  const world = new FakeWorld();
  const entry = (file: File) => ({ kind: 'file', name: file.name, getFile: () => Promise.resolve(file) });
  const files = [new File(['{}'], 'config.json'), new File(['x'], 'notes.md'), new File(['weights'], 'model.safetensors')];
  const folder = { kind: 'directory', name: 'tiny', values: async function* () { yield* files.map(entry); } };
  await world.load(folder as unknown as FileSystemDirectoryHandle);
  expect(world.lastCore.files.map((file) => file.name)).toEqual(['config.json', 'model.safetensors']);
});

test("the settings of sentence-transformers' modules keep the name of their folder, however they come", async () => {
  const names = ['config.json', 'model.safetensors', '1_Pooling/config.json'];
  const world = new FakeWorld();
  const got = () => world.lastCore.files.map((file) => file.name);
  // a folder
  const file = (name: string) => new File([modelBytes(100) as BlobPart], name);
  const entry = (name: string) => ({ kind: 'file', name, getFile: () => Promise.resolve(file(name)) });
  const inner = (name: string) => ({
    kind: 'directory', name,
    getFileHandle: (wanted: string) => (name === '2_Normalize' ? Promise.reject(new Error('none')) : Promise.resolve(entry(wanted))),
  });
  const entries = [entry('config.json'), entry('model.safetensors'), inner('1_Pooling'), inner('2_Normalize'), inner('onnx')];
  const folder = { kind: 'directory', name: 'tiny', values: async function* () { yield* entries; } };
  await world.load(folder as unknown as FileSystemDirectoryHandle);
  expect(got()).toEqual(names);
  // files of a chosen folder
  const chosen = names.map((name) => Object.defineProperty(file(name.split('/').pop()!), 'webkitRelativePath', { value: `tiny/${name}` }));
  const engine = await world.load(chosen, { keep: true, name: 'mine' });
  expect(got()).toEqual(names);
  await world.load(engine.info.model.url!);
  expect(got()).toEqual(names);
  // addresses
  const addresses = names.map((name) => kBase + name);
  for (const name of names) world.server.others.set(name.split('/').pop()!, modelBytes(100));
  await world.load(addresses);
  expect(got()).toEqual(names);
});

test('nothing to load is said; a web page among the files is refused and leaves nothing open', async () => {
  const world = splitWorld();
  expect((await failure(world.load([]))).code).toBe('invalid_argument');
  expect((await failure(world.load([new File(['x'], 'photo.png')]))).code).toBe('invalid_argument');
  world.server.others.set('config.json', new TextEncoder().encode('<!doctype html><title>no</title>'));
  expect((await failure(world.load([urls[0]!, `${kBase}config.json`]))).code).toBe('not_a_model');
  expect(world.store.open).toBe(0);
});

test('what the engine refuses is removed, all files of it', async () => {
  const world = splitWorld();
  world.core = { failAt: { bytes: 2500, error: { code: 'corrupt_file', message: 'no' } } };
  expect((await failure(world.load(urls))).code).toBe('corrupt_file');
  expect(await world.store.list()).toEqual([]);
  expect(world.store.open).toBe(0);
});

test('without storage several files load from memory', async () => {
  const world = splitWorld();
  world.openStore = () => Promise.reject(new Error('denied'));
  const engine = await world.load(urls);
  expect(world.lastCore.loaded).toEqual(allBytes(world));
  expect(engine.info.stored).toBe(false);
});
