// From an address to a model in the engine and on the device: first and second load, broken and changed downloads, and
// every way a server can give something that is no model. Fake server, store and core.
import { createHash } from 'node:crypto';
import type { LoadProgress } from '../../web/src/types.ts';
import { modelBytes } from './support/fake_server.ts';
import { failure, FakeWorld, kUrl, textOf } from './support/fake_world.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Nothing half-done is left: no handle open, no file or record. */
function expectNothingStored(world: FakeWorld): void {
  expect(world.store.open).toBe(0);
  expect([...world.store.files.keys()]).toEqual([]);
  expect([...world.store.records.keys()]).toEqual([]);
}

describe('first and second load', () => {
  test('bytes reach the engine and the device, the handle is closed', async () => {
    const world = new FakeWorld();
    const engine = await world.load();
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect([...world.store.files.values()][0]).toEqual(world.server.file);
    expect(await world.store.find(kUrl)).toMatchObject({ complete: true, bytes: 5000, receivedBytes: 5000, name: 'tiny model.gguf' });
    expect(world.store.open).toBe(0);
    expect(engine.info).toMatchObject({ stored: true, storageProblem: null, model: { url: kUrl, bytes: 5000 } });
  });

  test('the second load needs no network', async () => {
    const world = new FakeWorld();
    await world.load();
    world.server.offline = true;
    const engine = await world.load();
    expect(world.server.requests).toEqual(['all']);
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect(await textOf(engine.generate('x'))).toBe('Hello world');
    expect(world.store.open).toBe(0);
  });

  test('two tabs at the same time fetch it once', async () => {
    const world = new FakeWorld();
    const phases = new Set<string>();
    await Promise.all([world.load(), world.load(kUrl, { onProgress: ({ phase }) => phases.add(phase) })]);
    expect(world.server.requests).toEqual(['all']);
    expect(phases).toContain('wait');
    expect(world.cores.map((core) => core.loaded.length)).toEqual([5000, 5000]);
  });

  test('a length that is not told', async () => {
    const world = new FakeWorld();
    world.server.tellLength = false;
    const engine = await world.load();
    expect(engine.info.model.bytes).toBe(5000);
    expect(await world.store.find(kUrl)).toMatchObject({ complete: true, bytes: 5000 });
  });

  test('a stored file that lost bytes is fetched anew', async () => {
    const world = new FakeWorld();
    await world.load();
    const [id, bytes] = [...world.store.files.entries()][0]!;
    world.store.files.set(id, bytes.slice(0, 4000));
    await world.load();
    expect(world.server.requests).toEqual(['all', 'all']);
    expect(world.lastCore.loaded.length).toBe(5000);
  });

  test('progress counts up to the total', async () => {
    const world = new FakeWorld();
    const seen: LoadProgress[] = [];
    await world.load(kUrl, { onProgress: (progress) => seen.push(progress) });
    expect(seen[0]!.phase).toBe('start');
    const down = seen.filter(({ phase }) => phase === 'download');
    expect(down.at(-1)).toMatchObject({ loadedBytes: 5000, totalBytes: 5000, secondsLeft: 0 });
    // Never back from the engine's own reading to the network's.
    const phases = seen.map(({ phase }) => phase).filter((phase, index, all) => phase !== all[index - 1]);
    expect(['start,download', 'start,download,load']).toContain(phases.join());
    const again: LoadProgress[] = [];
    await world.load(kUrl, { onProgress: (progress) => again.push(progress) });
    expect(again.at(-1)).toMatchObject({ phase: 'load', loadedBytes: 5000, totalBytes: 5000 });
  });
});

describe('broken downloads', () => {
  test('a connection that breaks goes on in the same load', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100, 1000];
    await world.load();
    expect(world.server.requests).toEqual(['all', 'bytes=2100-', 'bytes=3100-']);
    expect(world.sleeps.length).toBe(2);
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect([...world.store.files.values()][0]).toEqual(world.server.file);
  });

  test('after giving up the part is kept and the next load goes on', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100, 0, 0, 0, 0];
    const error = await failure(world.load());
    expect(error.code).toBe('network');
    expect(error.message).toContain('2100 of 5000');
    expect(await world.store.find(kUrl)).toMatchObject({ complete: false, receivedBytes: 2100 });
    expect(world.store.open).toBe(0);
    world.server.requests.length = 0;
    await world.load();
    expect(world.server.requests).toEqual(['bytes=2100-']);
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect(await world.store.find(kUrl)).toMatchObject({ complete: true });
  });

  test('a file that changed meanwhile is fetched from its start', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100, 0, 0, 0, 0];
    await failure(world.load());
    world.server.file = modelBytes(6000, 11);
    world.server.etag = '"v2"';
    world.server.requests.length = 0;
    await world.load();
    expect(world.server.requests).toEqual(['bytes=2100-', 'all']);
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect([...world.store.files.values()][0]).toEqual(world.server.file);
  });

  test('a file that changes within a load is never mixed', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100];
    const original = world.server.fetch.bind(world.server);
    world.server.fetch = (url, init) => {
      if (world.server.requests.length === 1) {
        world.server.file = modelBytes(5000, 11);
        world.server.etag = '"v2"';
      }
      return original(url, init);
    };
    const error = await failure(world.load());
    expect(error.code).toBe('network');
    expect(error.message).toContain('changed');
    expect((await world.store.find(kUrl))?.complete ?? false).toBe(false);
  });

  test('without a validator nothing is resumed and nothing kept', async () => {
    const world = new FakeWorld();
    world.server.etag = null;
    world.server.breakAfter = [2100];
    expect((await failure(world.load())).code).toBe('network');
    expectNothingStored(world);
  });

  test('a weak ETag is no proof of equal bytes, the date is', async () => {
    const world = new FakeWorld();
    world.server.etag = 'W/"v1"';
    world.server.lastModified = 'Tue, 24 Nov 2026 00:00:00 GMT';
    world.server.breakAfter = [2100];
    await world.load();
    expect(world.server.requests).toEqual(['all', 'bytes=2100-']);
    const other = new FakeWorld();
    other.server.etag = 'W/"v1"';
    other.server.breakAfter = [2100];
    expect((await failure(other.load())).code).toBe('network');
    expect(other.server.requests).toEqual(['all']);
  });

  test('a connection that breaks often but brings something each time gets there', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = Array(9).fill(500);
    await world.load();
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect(new Set(world.sleeps)).toEqual(new Set([500]));
  });

  test('a connection that falls silent counts as broken', async () => {
    const world = new FakeWorld();
    world.stallMs = 30;
    world.server.hangAfter = 2100;
    await world.load();
    expect(world.server.requests).toEqual(['all', 'bytes=2100-', 'bytes=4200-']);
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
  });

  test('a server that gives another range than asked is not believed', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100, 0, 0, 0, 0];
    await failure(world.load());
    const original = world.server.fetch.bind(world.server);
    world.server.fetch = async (url, init) => {
      if (!new Headers(init.headers).has('range')) return original(url, init);
      const headers = { etag: '"v1"', 'content-range': 'bytes 2000-4899/5000', 'content-length': '2900' };
      return new Response(world.server.file.slice(2000, 4900), { status: 206, headers });
    };
    await world.load();
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
  });

  test('a part whose file was cleared is not trusted', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100, 0, 0, 0, 0];
    await failure(world.load());
    const id = [...world.store.files.keys()][0]!;
    world.store.files.set(id, new Uint8Array(10));
    world.server.requests.length = 0;
    await world.load();
    expect(world.server.requests).toEqual(['all']);
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
  });

  test('abort keeps the part, later loads go on', async () => {
    const world = new FakeWorld();
    world.server.hangAfter = 2100;
    const controller = new AbortController();
    const onProgress = ({ loadedBytes }: LoadProgress) => loadedBytes >= 2100 && controller.abort();
    const loading = world.load(kUrl, { signal: controller.signal, onProgress });
    setTimeout(() => controller.abort(), 200);
    const error = await failure(loading);
    expect([error.name, error.code]).toEqual(['AbortError', 'aborted']);
    expect(world.workers[0]!.terminated).toBe(true);
    expect(await world.store.find(kUrl)).toMatchObject({ complete: false, receivedBytes: 2100 });
    world.server.hangAfter = Infinity;
    await world.load();
    expect(world.server.requests).toEqual(['all', 'bytes=2100-']);
  });
});

describe('what is no model', () => {
  const cases: [name: string, code: string, change: (world: FakeWorld) => void][] = [
    ['a 404', 'not_found', (world) => void (world.server.status = 404)],
    ['a 500', 'http_error', (world) => void (world.server.status = 500)],
    ['a 403', 'http_error', (world) => void (world.server.status = 403)],
    ['an empty file', 'empty_file', (world) => void (world.server.file = new Uint8Array())],
    ['a web page', 'not_a_model', (world) => {
      world.server.file = new TextEncoder().encode('\n <!DOCTYPE html><html></html>');
    }],
    ['a page that comes in drops', 'not_a_model', (world) => {
      world.server.file = new TextEncoder().encode('<!DOCTYPE html><html></html>');
      world.server.chunkBytes = 3;
    }],
    ['a page told by its type', 'not_a_model', (world) => {
      world.server.file = new TextEncoder().encode('Please log in');
      world.server.contentType = 'text/html; charset=utf-8';
    }],
    ['random bytes', 'bad_magic', (world) => void (world.server.file = Uint8Array.from([9, 8, 7, 6, 5]))],
    ['a file of two bytes', 'bad_magic', (world) => void (world.server.file = modelBytes(2))],
    ['no server', 'network', (world) => void (world.server.offline = true)],
    ['an address the page may not use', 'address_blocked', (world) => {
      world.server.offline = true;
      world.blocked = true;
    }],
    ['a file the engine refuses', 'unsupported_architecture', (world) => {
      const error = { code: 'unsupported_architecture', message: 'architecture "mamba" is not supported', advice: 'no' };
      world.core = { failAt: { bytes: 2000, error } };
    }],
  ];

  test.each(cases)('%s is %s, nothing is stored, the worker ends', async (_name, code, change) => {
    const world = new FakeWorld();
    change(world);
    const error = await failure(world.load());
    expect(error.code).toBe(code);
    expect(error.advice).toBeTruthy();
    expectNothingStored(world);
    expect(world.workers.every((worker) => worker.terminated)).toBe(true);
  });

  test('the engine refuses early: the rest is not fetched', async () => {
    const world = new FakeWorld();
    world.server.hangAfter = 2100;
    world.core = { failAt: { bytes: 1000, error: { code: 'bad_version', message: 'version 99' } } };
    expect((await failure(world.load())).message).toBe('version 99');
    expectNothingStored(world);
  });

  test('a refusal for lack of memory keeps the stored model', async () => {
    const world = new FakeWorld();
    await world.load();
    world.core = { failAt: { bytes: 0, error: { code: 'out_of_memory', message: 'needs 9, has 5' } } };
    expect((await failure(world.load())).code).toBe('out_of_memory');
    expect((await world.store.find(kUrl))?.complete).toBe(true);
    expect(world.store.open).toBe(0);
  });

  test('a stored model that turns out bad is removed', async () => {
    const world = new FakeWorld();
    await world.load();
    world.core = { failAt: { bytes: 2000, error: { code: 'corrupt_file', message: 'x' } } };
    expect((await failure(world.load())).code).toBe('corrupt_file');
    expectNothingStored(world);
  });

  test('a failed load leaves an earlier engine alone', async () => {
    const world = new FakeWorld();
    const engine = await world.load();
    world.server.status = 404;
    await failure(world.load('https://models.test/other.gguf'));
    expect(await textOf(engine.generate('x'))).toBe('Hello world');
  });
});

describe('SHA-256', () => {
  test('the right one is remembered, also over a broken connection', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100];
    await world.load(kUrl, { sha256: sha256(world.server.file).toUpperCase() });
    expect((await world.store.find(kUrl))?.sha256).toBe(sha256(world.server.file));
  });

  test('it covers the part of an earlier visit', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100, 0, 0, 0, 0];
    await failure(world.load());
    const id = [...world.store.files.keys()][0]!;
    world.store.files.get(id)![100]! ^= 1;
    expect((await failure(world.load(kUrl, { sha256: sha256(world.server.file) }))).code).toBe('checksum_mismatch');
    expectNothingStored(world);
  });

  test('another content is refused and removed', async () => {
    const world = new FakeWorld();
    const error = await failure(world.load(kUrl, { sha256: '00'.repeat(32) }));
    expect(error.code).toBe('checksum_mismatch');
    expect(error.message).toContain(sha256(world.server.file));
    expectNothingStored(world);
  });

  test('an outdated stored copy is fetched anew', async () => {
    const world = new FakeWorld();
    await world.load(kUrl, { sha256: sha256(world.server.file) });
    world.server.file = modelBytes(5000, 13);
    await world.load(kUrl, { sha256: sha256(world.server.file) });
    expect(world.server.requests.length).toBe(2);
    expect([...world.store.files.values()][0]).toEqual(world.server.file);
  });
});

describe('without storage', () => {
  test('denied: the model stays in memory and the reason is told', async () => {
    const world = new FakeWorld();
    world.openStore = () => Promise.reject(new DOMException('no', 'SecurityError'));
    const engine = await world.load();
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect(engine.info).toMatchObject({ stored: false, storageProblem: { code: 'storage_denied' }, model: { url: null } });
  });

  test('too little space: memory, and the numbers', async () => {
    const world = new FakeWorld();
    world.store.free = 100;
    const engine = await world.load();
    expect(engine.info.storageProblem?.code).toBe('quota');
    expect(engine.info.storageProblem?.message).toContain('5000');
    expectNothingStored(world);
  });

  test('space that runs out on the way: the bytes move to memory, nothing is left', async () => {
    const world = new FakeWorld();
    world.store.capacity = 2000;
    const engine = await world.load(kUrl, { sha256: sha256(world.server.file) });
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
    expect(world.server.requests).toEqual(['all']);
    expect(engine.info).toMatchObject({ stored: false, storageProblem: { code: 'quota' }, model: { url: null } });
    expectNothingStored(world);
  });

  test('store: false asks for memory, no problem is reported', async () => {
    const world = new FakeWorld();
    const engine = await world.load(kUrl, { store: false });
    expect(engine.info).toMatchObject({ stored: false, storageProblem: null });
    expectNothingStored(world);
  });

  test('broken connections go on in memory too', async () => {
    const world = new FakeWorld();
    world.server.breakAfter = [2100];
    await world.load(kUrl, { store: false });
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(world.server.file);
  });
});

describe('files of the user', () => {
  test('a File is read by slices and not stored', async () => {
    const world = new FakeWorld();
    const engine = await world.load(new File([modelBytes(4321).slice()], 'my.gguf'));
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(modelBytes(4321));
    expect(engine.info.stored).toBe(false);
    expectNothingStored(world);
  });

  test('keep: it can be loaded again by its address', async () => {
    const world = new FakeWorld();
    const engine = await world.load(new File([modelBytes(4321).slice()], 'my file.gguf'), { keep: true });
    const url = engine.info.model.url!;
    expect(url).toBe('stored:my%20file.gguf');
    await world.load(url);
    expect(Uint8Array.from(world.lastCore.loaded)).toEqual(modelBytes(4321));
    expect(world.server.requests).toEqual([]);
  });

  test('keep without storage: loaded, and the problem told', async () => {
    const world = new FakeWorld();
    world.openStore = () => Promise.reject(new Error('none'));
    const engine = await world.load(new File([modelBytes(4321).slice()], 'my.gguf'), { keep: true });
    expect(engine.info.stored).toBe(false);
    expect(engine.info.storageProblem).not.toBeNull();
  });

  test.each([
    ['', 'empty_file'],
    ['<html>', 'not_a_model'],
    ['GGU', 'bad_magic'],
  ])('a file with %j is %s', async (content, code) => {
    expect((await failure(new FakeWorld().load(new File([content], 'x')))).code).toBe(code);
  });

  test('a kept address that is gone', async () => {
    expect((await failure(new FakeWorld().load('stored:gone'))).code).toBe('not_found');
  });
});
