// The server of a benchmark run: the built library, the pages here, the peers' packages, the model and the ONNX folder
// under one isolated origin. Unlike scripts/serve.mjs it has no content policy, because some peers start blob workers.
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, sep } from 'node:path';
import { parseRange } from '../../serve.mjs';

const kTypes = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};
const kHeaders = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-cache',
  'accept-ranges': 'bytes',
};

async function find(mounts, url) {
  const path = decodeURIComponent(url.split('?')[0]);
  const [prefix, target] = Object.entries(mounts).find(([mount]) => path.startsWith(mount)) ?? [];
  if (!prefix) return null;
  const root = await realpath(target);
  const file = await realpath(join(root, path.slice(prefix.length))).catch(() => null);
  return file === root || file?.startsWith(root + sep) ? file : null;
}

/** `mounts`: {'/prefix/': folder, '/path': file}. Gives {origin, close}. */
export async function serve(mounts) {
  const server = createServer(async (request, response) => {
    const file = await find(mounts, request.url).catch(() => null);
    const info = file && (await stat(file));
    if (!info?.isFile()) return void response.writeHead(404, kHeaders).end();
    const etag = `"${info.size.toString(36)}-${Math.trunc(info.mtimeMs).toString(36)}"`;
    const headers = { ...kHeaders, etag, 'content-type': kTypes[extname(file)] ?? 'application/octet-stream' };
    if (request.headers['if-none-match'] === etag) return void response.writeHead(304, headers).end();
    const range = parseRange(request.headers.range, info.size);
    if (range === 'unsatisfiable') return void response.writeHead(416, { ...headers, 'content-range': `bytes */${info.size}` }).end();
    const { start, end } = range ?? { start: 0, end: info.size - 1 };
    if (range) headers['content-range'] = `bytes ${start}-${end}/${info.size}`;
    response.writeHead(range ? 206 : 200, { ...headers, 'content-length': end - start + 1 });
    if (request.method === 'HEAD' || info.size === 0) return void response.end();
    const stream = createReadStream(file, { start, end, highWaterMark: 1 << 20 });
    stream.on('error', () => response.destroy());
    response.on('close', () => stream.destroy());
    stream.pipe(response);
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
