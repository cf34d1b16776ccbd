// The small parts: error mapping, names of records, memory files, progress, and the worker calls themselves.
import { EngineError, fromErrorData, toEngineError, toErrorData } from '../../web/src/errors.ts';
import { Meter } from '../../web/src/fetch/meter.ts';
import { kErrorCodes, type ErrorCode } from '../../web/src/generated/error_codes.ts';
import { RpcClient } from '../../web/src/rpc/client.ts';
import { serve, type Handlers } from '../../web/src/rpc/server.ts';
import { MemoryStore } from '../../web/src/store/memory.ts';
import { newRecord, recordId } from '../../web/src/store/store.ts';
import type { LoadProgress } from '../../web/src/types.ts';
import { failure, FakeWorker } from './support/fake_world.ts';

describe('errors', () => {
  test.each(Object.keys(kErrorCodes) as ErrorCode[])('%s crosses the worker border whole', (code) => {
    const sent = new EngineError(code, 'tensor 7 of 9');
    const got = fromErrorData(structuredClone(toErrorData(sent)));
    expect(got).toBeInstanceOf(EngineError);
    expect(got).toBeInstanceOf(Error);
    expect([got.code, got.message, got.advice, got.name]).toEqual([code, 'tensor 7 of 9', kErrorCodes[code].advice, sent.name]);
    expect(got.stack).toContain('in the worker');
    expect(new EngineError(code).message).toBe(kErrorCodes[code].message);
  });

  test('advice of the core wins over the default', () => {
    expect(fromErrorData({ code: 'out_of_memory', message: 'm', advice: 'take 512' }).advice).toBe('take 512');
  });

  test.each([
    [new DOMException('x', 'QuotaExceededError'), 'quota'],
    [new DOMException('x', 'SecurityError'), 'storage_denied'],
    [new DOMException('x', 'AbortError'), 'aborted'],
    [new TypeError('x'), 'io_error'],
    ['text', 'io_error'],
  ])('%s is %s', (value, code) => {
    expect(toEngineError(value, 'io_error').code).toBe(code);
  });

  test('a code of another version becomes internal and is named', () => {
    const error = fromErrorData({ code: 'toString', message: 'm' });
    expect([error.code, error.message]).toEqual(['internal', 'toString: m']);
  });
});

describe('store', () => {
  test('addresses get file names of their own', () => {
    expect(recordId('https://a.test/m/Model%20A.gguf?x=1')).toMatch(/^Model-20A-[0-9a-f]{16}$/);
    expect(recordId('https://a.test/m.gguf')).not.toBe(recordId('https://b.test/m.gguf'));
    expect(recordId('https://a.test/')).toMatch(/^model-[0-9a-f]{16}$/);
    expect(recordId('x://y/..\\..//')).toMatch(/^[A-Za-z0-9._-]+$/);
    expect(recordId(`https://a.test/${'n'.repeat(300)}`).length).toBeLessThan(100);
  });

  test('memory files read across chunks and cut anywhere', async () => {
    const file = await new MemoryStore().openWrite(newRecord('u', 'n'));
    const bytes = Uint8Array.from({ length: 100 }, (_, index) => index);
    for (const [from, to] of [[0, 1], [1, 40], [40, 41], [41, 100]]) file.append(bytes.slice(from, to));
    for (let from = 0; from < 100; from += 7) {
      for (let length = 0; length <= 100 - from; length += 11) {
        const target = new Uint8Array(length);
        file.read(from, target);
        expect(target).toEqual(bytes.slice(from, from + length));
      }
    }
    expect(() => file.read(95, new Uint8Array(6))).toThrow(expect.objectContaining({ code: 'truncated' }));
    for (const size of [41, 40, 17, 0]) {
      file.truncate(size);
      expect(file.size).toBe(size);
      const target = new Uint8Array(size);
      if (size) file.read(0, target);
      expect(target).toEqual(bytes.slice(0, size));
    }
    file.append(bytes);
    const target = new Uint8Array(100);
    file.read(0, target);
    expect(target).toEqual(bytes);
  });
});

describe('progress', () => {
  test('speed over the last seconds, time left, spaced reports', () => {
    let now = 0;
    const seen: LoadProgress[] = [];
    const meter = new Meter((progress) => seen.push(progress), () => now);
    for (; now <= 10_000; now += 10) meter.update('download', now * 2, 40_000);
    expect(seen.length).toBeLessThan(110);
    expect(seen.at(-1)!.bytesPerSecond).toBeCloseTo(2000);
    expect(seen.at(-1)!.secondsLeft).toBeCloseTo(10);
    // A stall shows: after some seconds without bytes the speed falls to nothing.
    for (; now <= 20_000; now += 1000) meter.update('download', 20_000, 40_000);
    expect(seen.at(-1)).toMatchObject({ bytesPerSecond: 0, secondsLeft: null });
    meter.update('download', 40_000, 40_000);
    expect(seen.at(-1)!.secondsLeft).toBe(0);
    meter.update('load', 1, null);
    expect(seen.at(-1)).toMatchObject({ phase: 'load', totalBytes: null, secondsLeft: null });
  });
});

describe('worker calls', () => {
  function pair(handlers: Partial<Handlers>): RpcClient {
    const worker = new FakeWorker();
    serve(worker.scope, handlers as Handlers);
    return new RpcClient(worker);
  }

  test('calls at the same time get their own replies', async () => {
    const client = pair({
      tokenize: async ({ text }) => {
        await new Promise((resolve) => setTimeout(resolve, 20 / text.length));
        return { ids: [text.length] };
      },
    });
    const call = (text: string) => client.call('tokenize', { text, special: true });
    expect(await Promise.all([call('a'), call('bbbb'), call('cc')])).toEqual([{ ids: [1] }, { ids: [4] }, { ids: [2] }]);
  });

  test('an unknown call and a thrown error are errors, not silence', async () => {
    const client = pair({
      detokenize: () => {
        throw new RangeError('oops');
      },
    });
    expect((await failure(client.call('render', { messages: [] }))).message).toContain('render');
    const error = await failure(client.call('detokenize', { ids: [] }));
    expect([error.code, error.message]).toEqual(['internal', 'RangeError: oops']);
    expect(error).toMatchObject({ code: 'internal' });
    expect((await failure(client.call('toString' as 'render', { messages: [] }))).message).toContain('toString');
  });

  test('what cannot be sent rejects the call', async () => {
    const client = pair({});
    await expect(client.call('tokenize', { text: (() => 1) as unknown as string, special: true })).rejects.toThrow();
  });
});
