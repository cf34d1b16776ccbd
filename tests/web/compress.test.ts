// The compressor's worker and the page's class on top of it, with a fake module, a fake store and the real messages between.
import { Compressor } from '../../web/src/compress/compressor.ts';
import { CompressCore } from '../../web/src/compress/core.ts';
import type { CompressCalls } from '../../web/src/compress/protocol.ts';
import { CompressSession, type SessionDeps } from '../../web/src/compress/session.ts';
import type { CompressProgress } from '../../web/src/compress/types.ts';
import { serve } from '../../web/src/rpc/server.ts';
import { newRecord } from '../../web/src/store/store.ts';
import { FakeCompress, FakeState, kLargest, kParts, kSmallest, kWindows, type FakeCompressOptions } from './support/fake_compress.ts';
import { FakeStore } from './support/fake_store.ts';
import { FakeWorker } from './support/fake_world.ts';

const kUrl = 'https://models.test/tiny.gguf';
const kModel = new Uint8Array(4000).map((_, i) => (i < 4 ? 'GGUF'.charCodeAt(i) : (i * 31) % 251));

/** A device: what is stored outlives the workers. */
class Device {
  store = new FakeStore();
  states = new Map<string, FakeState>();
  modules: FakeCompress[] = [];
  locks = new Set<string>();
  fake: FakeCompressOptions = {};
  fetched: string[] = [];
  clock = 0;

  async add(url = kUrl): Promise<void> {
    const record = { ...newRecord(url, 'tiny.gguf'), bytes: kModel.length, receivedBytes: kModel.length, complete: true };
    (await this.store.openWrite(record)).append(kModel);
    await this.store.save(record);
    this.store.open = 0;
  }

  open(source: string | Blob = kUrl, options: Parameters<typeof Compressor.open>[1] = {}): Promise<Compressor> {
    return Compressor.open(source, options, () => {
      const worker = new FakeWorker();
      serve<CompressCalls>(worker.scope, new CompressSession(this.deps()));
      return worker;
    });
  }

  private deps(): SessionDeps {
    return {
      capabilities: () => ({ simd: true, relaxedSimd: true, isolated: true, sharedMemory: true, cores: 4 }),
      startCore: ({ threads }) => CompressCore.start(() => {
        const module = new FakeCompress(this.fake);
        this.modules.push(module);
        return Promise.resolve(module);
      }, threads),
      breathe: () => new Promise((resolve) => setImmediate(resolve)),
      sleep: () => Promise.resolve(),
      openStore: () => Promise.resolve(this.store),
      openState: (id) => {
        if (!this.states.has(id)) this.states.set(id, new FakeState());
        return Promise.resolve(this.states.get(id)!);
      },
      removeState: (id) => Promise.resolve(void this.states.delete(id)),
      lock: (id) => {
        if (this.locks.size) return Promise.resolve(null);
        this.locks.add(id);
        return Promise.resolve(() => void this.locks.delete(id));
      },
      fetch: (url) => {
        this.fetched.push(url);
        return Promise.resolve(url.includes('missing') ? new Response('', { status: 404 }) : new Response(`text of ${url}`));
      },
      base: 'https://page.test/app/compress-worker-1.js',
      now: () => (this.clock += 1000),
    };
  }
}

async function fileOf(device: Device, url: string): Promise<Uint8Array> {
  const record = (await device.store.find(url))!;
  expect(record.complete).toBe(true);
  return device.store.files.get(record.id)!;
}

async function made(device: Device, bytes: number): Promise<Uint8Array> {
  const compressor = await device.open();
  await compressor.analyse();
  const { url } = await compressor.make(bytes);
  await compressor.dispose();
  return fileOf(device, url);
}

describe('compressor', () => {
  let device: Device;
  beforeEach(async () => {
    device = new Device();
    await device.add();
  });

  test('plans, measures, and stores a complete model', async () => {
    const told: CompressProgress[] = [];
    const compressor = await device.open();
    expect(compressor.plan).toMatchObject({ name: 'Tiny', architecture: 'llama', bytes: 4000, calibrated: true, measured: 0, unfinished: null });
    const sizes = await compressor.analyse({ onProgress: (progress) => told.push(progress) });
    expect(sizes).toHaveLength(24);
    expect([sizes[0]!.bytes, sizes[23]!.bytes]).toEqual([kSmallest, kLargest]);
    const result = await compressor.make(1200, { onProgress: (progress) => told.push(progress) });
    expect(result).toMatchObject({ name: 'tiny.0.00120MB.gguf', bytes: 1200, meanKl: 0.11 });
    expect(result).not.toHaveProperty('ok');
    expect(await fileOf(device, result.url)).toHaveLength(1200);
    expect(new Set(told.map(({ stage }) => stage))).toEqual(new Set(['measuring', 'coding', 'checking']));
    for (const { done, total } of told) expect(done >= 0 && done <= 1 && total >= 0 && total <= 1).toBe(true);
    await compressor.dispose();
    expect(device.store.open).toBe(0);
    expect(device.locks.size).toBe(0);
  });

  test('the texts come from beside the worker, once, or from the caller', async () => {
    await (await device.open()).dispose();
    expect(device.fetched).toEqual(['calibration.txt', 'calibration.jsonl', 'evaluation.txt', 'evaluation.jsonl'].map((name) => `https://page.test/app/calibration/${name}`));
    await (await device.open(kUrl, { calibration: ['Some words.', '{"messages": []}', 'texts/own.jsonl'] })).dispose();
    expect(device.modules[1]!.lastPlan.calibration!.map(({ name }) => name)).toEqual(['text.txt', 'text.jsonl', '/app/texts/own.jsonl']);
    expect(device.modules[1]!.lastPlan).toMatchObject({ evaluation: [] });
    await expect(device.open(kUrl, { calibration: ['texts/missing.txt'] })).rejects.toMatchObject({ code: 'not_found' });
    device.fake = { calibrated: false };
    device.fetched.length = 0;
    await (await device.open()).dispose();
    expect(device.fetched).toEqual([]);
  });

  test('paused at any step, it goes on in the same worker', async () => {
    const expected = await made(device, 1800);
    for (let stop = 1; stop < 12; stop++) {
      const again = new Device();
      await again.add();
      const compressor = await again.open();
      await compressor.analyse();
      const stopper = new AbortController();
      let seen = 0;
      const paused = compressor.make(1800, { signal: stopper.signal, onProgress: () => ++seen === stop && stopper.abort() });
      if (stop <= kParts) await expect(paused).rejects.toMatchObject({ code: 'aborted' });
      else await paused.catch(() => undefined);
      const { url } = await compressor.make(1800);
      expect(await fileOf(again, url)).toEqual(expected);
      await compressor.dispose();
    }
  });

  test('after the worker ended it goes on with what was kept', async () => {
    const expected = await made(device, 1800);
    const again = new Device();
    await again.add();
    const first = await again.open();
    await first.analyse();
    const stopper = new AbortController();
    await expect(first.make(1800, { signal: stopper.signal, onProgress: ({ done }) => done >= 0.5 && stopper.abort() })).rejects.toMatchObject({ code: 'aborted' });
    await first.dispose();
    expect((await again.store.list()).map(({ name }) => name)).toEqual(['tiny.gguf']); // nothing half made
    const second = await again.open();
    expect(second.plan.measured).toBe(1);
    expect(second.plan.unfinished?.bytes).toBe(1800);
    await second.analyse();
    const { url } = await second.make(1800);
    expect(await fileOf(again, url)).toEqual(expected);
    expect(again.modules[1]!.log.filter((entry) => entry.startsWith('recall rows')).length).toBeGreaterThan(1);
    // What is of no use any more is deleted; the measuring stays for other sizes.
    const state = [...again.states.values()][0]!;
    expect([...state.kept.keys()]).toEqual(['analysis']);
    expect(JSON.parse(state.saved!)).toMatchObject({ bytes: null, done: 1, source: kUrl });
    await second.make(2400);
    await second.dispose();
  });

  test('measuring goes on where the worker ended, and what only it needs is deleted', async () => {
    await device.add();
    const first = await device.open();
    const stopper = new AbortController();
    await expect(first.analyse({ signal: stopper.signal, onProgress: ({ done }) => done > 0.5 && stopper.abort() })).rejects.toMatchObject({ code: 'aborted' });
    await first.dispose();
    const second = await device.open();
    expect(second.plan.measured).toBeGreaterThan(0.5);
    expect(second.plan.measured).toBeLessThan(1);
    expect(second.plan.unfinished).toBe(null);
    await second.analyse();
    const { log } = device.modules[1]!;
    expect(log.filter((entry) => entry === 'recall inputs w').length).toBe(1);
    expect(log.filter((entry) => entry === 'keep inputs w').length).toBeLessThan(kWindows);
    expect([...[...device.states.values()][0]!.kept.keys()]).toEqual(['analysis']);
    await second.dispose();
    const third = await device.open();
    expect(third.plan.measured).toBe(1);
    await third.dispose();
  });

  test('a dropped file is stored once the plan stands, and not when it is refused', async () => {
    const empty = new Device();
    const file = new File([kModel], 'dropped.gguf');
    empty.fake = { planError: { code: 'unsupported_architecture', message: 'no' } };
    await expect(empty.open(file)).rejects.toMatchObject({ code: 'unsupported_architecture' });
    await expect(empty.open(new File(['<!DOCTYPE html><html>'], 'page.gguf'))).rejects.toMatchObject({ code: 'not_a_model' });
    expect(await empty.store.list()).toEqual([]);
    expect(empty.locks.size).toBe(0);
    empty.fake = {};
    const compressor = await empty.open(file);
    expect((await empty.store.list()).map(({ url, complete }) => [url, complete])).toEqual([['stored:dropped.gguf', true]]);
    await compressor.analyse();
    await compressor.make(900);
    await compressor.dispose();
    await (await empty.open(new File([kModel], 'dropped.gguf'))).dispose(); // the same again: not copied
    const other = kModel.slice().fill(7, 2000);
    await (await empty.open(new File([other], 'dropped.gguf'))).dispose();
    expect(empty.store.files.get((await empty.store.find('stored:dropped.gguf'))!.id)).toEqual(other);
  });

  test('refusals are typed', async () => {
    await expect(device.open('https://models.test/unknown.gguf')).rejects.toMatchObject({ code: 'not_found' });
    device.fake = { planError: { code: 'out_of_memory', message: 'takes 9.00 GB' } };
    await expect(device.open()).rejects.toMatchObject({ code: 'out_of_memory', message: 'takes 9.00 GB' });
    device.fake = { storageBytes: 2e9 };
    device.store.free = 1e9;
    await expect(device.open()).rejects.toMatchObject({ code: 'quota', message: expect.stringMatching(/2\.02 GB.*1\.00 GB/) });
    device.fake = {};
    device.store.free = null;
    const one = await device.open();
    await expect(device.open()).rejects.toMatchObject({ code: 'busy' });
    await expect(one.make(900)).rejects.toMatchObject({ code: 'invalid_argument' });
    await one.analyse();
    await expect(one.make(1)).rejects.toMatchObject({ code: 'invalid_argument' });
    await one.dispose();
    await expect(one.analyse()).rejects.toMatchObject({ code: 'disposed' });
    device.fake = { trapAt: 3 };
    const trapped = await device.open();
    await expect(trapped.analyse()).rejects.toMatchObject({ code: 'out_of_memory' });
    await trapped.dispose();
  });

  test('bytes that could not be had are asked for again', async () => {
    const compressor = await device.open();
    await compressor.analyse();
    const { id } = (await device.store.find(kUrl))!;
    const bytes = device.store.files.get(id)!;
    device.store.files.set(id, bytes.slice(0, 200));
    await expect(compressor.make(1800)).rejects.toMatchObject({ code: 'truncated' });
    device.store.files.set(id, bytes);
    const { url } = await compressor.make(1800);
    const fresh = new Device();
    await fresh.add();
    expect(await fileOf(device, url)).toEqual(await made(fresh, 1800));
    await compressor.dispose();
  });
});
