// A web server as a fetch function: serves one file with ranges and validators, and fails as real ones do.
export interface FakeServer {
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Every request that came, its Range header or 'all'. */
  readonly requests: string[];
  file: Uint8Array;
  /** Further files by the last part of their address. */
  others: Map<string, Uint8Array>;
  etag: string | null;
  lastModified: string | null;
  status: number;
  contentType: string;
  ranges: boolean;
  tellLength: boolean;
  /** Bytes after which the connection breaks, one entry per coming request; Infinity: never. */
  breakAfter: number[];
  /** Bytes of body after which it waits until the signal aborts. */
  hangAfter: number;
  offline: boolean;
  chunkBytes: number;
}

/** The bytes of a fake model: the magic and a pattern. */
export function modelBytes(length: number, seed = 7): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, index) => (index * seed + (index >> 8)) & 255);
  bytes.set([71, 71, 85, 70].slice(0, length));
  return bytes;
}

function body(server: FakeServer, bytes: Uint8Array, signal: AbortSignal | null | undefined): ReadableStream<Uint8Array> {
  const limit = server.breakAfter.shift() ?? Infinity;
  let at = 0;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      signal?.addEventListener('abort', () => {
        try {
          controller.error(new DOMException('aborted', 'AbortError'));
        } catch {
          // The stream had ended.
        }
      });
    },
    async pull(controller) {
      await new Promise((resolve) => setImmediate(resolve));
      if (at >= limit) return controller.error(new TypeError('network error'));
      if (at >= server.hangAfter) return new Promise(() => undefined);
      if (at >= bytes.length) return controller.close();
      const end = Math.min(at + server.chunkBytes, bytes.length, limit);
      controller.enqueue(bytes.slice(at, end));
      at = end;
    },
  }, { highWaterMark: 0 });
}

export function fakeServer(file: Uint8Array): FakeServer {
  const server: FakeServer = {
    requests: [], file, others: new Map(), etag: '"v1"', lastModified: null, status: 200, contentType: 'application/octet-stream', ranges: true,
    tellLength: true, breakAfter: [], hangAfter: Infinity, offline: false, chunkBytes: 700,
    async fetch(url, init) {
      const file = server.others.get(decodeURIComponent(url.split('/').pop()!)) ?? server.file;
      const asked = new Headers(init.headers);
      server.requests.push(asked.get('range') ?? 'all');
      await Promise.resolve();
      if (server.offline) throw new TypeError('Failed to fetch');
      if (init.signal?.aborted) throw new DOMException('aborted', 'AbortError');
      const headers = new Headers({ 'content-type': server.contentType });
      if (server.etag) headers.set('etag', server.etag);
      if (server.lastModified) headers.set('last-modified', server.lastModified);
      if (server.status !== 200) return new Response('no', { status: server.status, headers });
      const from = Number(/bytes=(\d+)-/.exec(asked.get('range') ?? '')?.[1] ?? 0);
      const condition = asked.get('if-range');
      const same = condition === null || condition === server.etag || condition === server.lastModified;
      if (!asked.has('range') || !server.ranges || !same) {
        if (server.tellLength) headers.set('content-length', String(file.length));
        return new Response(body(server, file, init.signal), { status: 200, headers });
      }
      if (from >= file.length) return new Response(null, { status: 416, headers });
      headers.set('content-length', String(file.length - from));
      headers.set('content-range', `bytes ${from}-${file.length - 1}/${file.length}`);
      return new Response(body(server, file.subarray(from), init.signal), { status: 206, headers });
    },
  };
  return server;
}
