// The static server behind scripts/start and the browser tests (Node, no dependency): web/dist with the headers that
// threads and a strict page need, byte ranges, and models under /models/. Listens on 127.0.0.1 only.
//
//   node serve.mjs --root DIR [--port N] [--no-isolation] [--model-host ORIGIN]... [--models FILE]
//
// FILE: JSON, [{name, path, bytes, memoryBytes, sha256, license, terms, default}], served as /models/<name> and listed in
// /models.json; read again whenever it changes.
// Not a general web server: no directory listing, no compression, no caching beyond revalidation.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const kTypes = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.webmanifest': 'application/manifest+json; charset=utf-8',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
  '.jsonl': 'text/plain; charset=utf-8',
};

/** The one policy of the page. `hosts`: further origins that models may be fetched from. */
export function contentSecurityPolicy(hosts) {
  return [
    "default-src 'self'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self'",
    ["connect-src 'self'", ...hosts].join(' '),
    "img-src 'self' data: blob:",
    "style-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

/**
 * The part of a file that a Range header asks for: {start, end} inclusive, 'unsatisfiable', or null for the whole file
 * (no header, several ranges, or one that is not understood: all may be answered with 200).
 */
export function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (!match[1] && !match[2])) return null;
  const first = match[1] ? Number(match[1]) : Math.max(0, size - Number(match[2]));
  const last = match[1] && match[2] ? Number(match[2]) : size - 1;
  if (match[1] && match[2] && last < first) return null;
  if (first >= size || (!match[1] && Number(match[2]) === 0)) return 'unsatisfiable';
  return { start: first, end: Math.min(last, size - 1) };
}

function answer(response, status, headers, text) {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(text), ...headers });
  response.end(response.req.method === 'HEAD' ? undefined : text);
}

function isCurrent(request, etag) {
  return (request.headers['if-none-match'] ?? '').split(',').some((tag) => tag.trim() === etag);
}

/** A small body made here, with the hash of its content as its tag. */
function sendText(request, response, headers, type, body) {
  const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 24)}"`;
  headers = { ...headers, etag };
  if (isCurrent(request, etag)) return void response.writeHead(304, headers).end();
  answer(response, 200, { ...headers, 'content-type': type }, body);
}

async function sendFile(request, response, headers, path) {
  const info = await stat(path).catch(() => null);
  if (!info?.isFile()) return answer(response, 404, headers, 'not found\n');
  const etag = `"${info.size.toString(36)}-${Math.trunc(info.mtimeMs * 1000).toString(36)}"`;
  headers = {
    ...headers,
    etag,
    'last-modified': info.mtime.toUTCString(),
    'accept-ranges': 'bytes',
    'content-type': kTypes[extname(path)] ?? 'application/octet-stream',
  };
  if (isCurrent(request, etag)) return void response.writeHead(304, headers).end();
  const ifRange = request.headers['if-range'];
  const range = ifRange && ifRange !== etag && ifRange !== headers['last-modified'] ? null : parseRange(request.headers.range, info.size);
  if (range === 'unsatisfiable') {
    return answer(response, 416, { ...headers, 'content-range': `bytes */${info.size}`, 'content-type': kTypes['.txt'] }, 'no such range\n');
  }
  const { start, end } = range ?? { start: 0, end: info.size - 1 };
  headers['content-length'] = end - start + 1;
  if (range) headers['content-range'] = `bytes ${start}-${end}/${info.size}`;
  response.writeHead(range ? 206 : 200, headers);
  if (request.method === 'HEAD' || info.size === 0) return void response.end();
  const stream = createReadStream(path, { start, end, highWaterMark: 1 << 20 });
  stream.on('error', () => response.destroy());
  response.on('close', () => stream.destroy());
  stream.pipe(response);
}

/** The file under `root` that a request path means, or null where it would leave it (also by a symbolic link). */
async function resolveInside(root, pathname) {
  if (pathname.includes('\0') || pathname.split(/[/\\]/).includes('..')) return null;
  const path = await realpath(join(root, pathname)).catch(() => null);
  if (path === null || (path !== root && !path.startsWith(root + sep))) return null;
  return (await stat(path)).isDirectory() ? join(path, 'index.html') : path;
}

function decodePath(url) {
  try {
    return decodeURIComponent(url.split(/[?#]/, 1)[0]);
  } catch {
    return null;
  }
}

/** What is served of models: `list` for /models.json, `byName` for the files. */
function shelfOf(models) {
  return {
    byName: new Map(models.map((model) => [model.name, model])),
    list: JSON.stringify(models.map(({ path: _path, ...rest }) => ({ ...rest, url: `/models/${encodeURIComponent(rest.name)}` }))),
  };
}

/** Gives the shelf of a list in a file, read again when the file was written anew; while it cannot be read, the last one counts. */
function shelfOfFile(file) {
  let [written, shelf] = [NaN, shelfOf([])];
  return async () => {
    const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: written }));
    if (mtimeMs !== written) {
      try {
        shelf = shelfOf(JSON.parse(await readFile(file, 'utf8')));
        written = mtimeMs;
      } catch (error) {
        console.error(`serve: ${file}: ${error.message}`);
      }
    }
    return shelf;
  };
}

/** An http.Server, not yet listening. `models`: the list itself or the file it lies in, as in the head of this file. */
export async function createAppServer({ root, isolation = true, modelHosts = [], models = [] }) {
  root = await realpath(root);
  const policy = contentSecurityPolicy(modelHosts);
  const fixed = Array.isArray(models) && shelfOf(models);
  const shelf = fixed ? () => fixed : shelfOfFile(models);
  const common = {
    'content-security-policy': policy,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-cache',
    ...(isolation && { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }),
  };
  return createServer(async (request, response) => {
    try {
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        return answer(response, 405, { ...common, allow: 'GET, HEAD' }, 'only GET and HEAD\n');
      }
      const pathname = decodePath(request.url);
      if (pathname === null || !pathname.startsWith('/')) return answer(response, 400, common, 'bad address\n');
      if (pathname === '/models.json') return sendText(request, response, common, kTypes['.json'], (await shelf()).list);
      if (pathname.startsWith('/models/')) {
        const model = (await shelf()).byName.get(pathname.slice('/models/'.length));
        return model ? await sendFile(request, response, common, model.path) : answer(response, 404, common, 'no such model\n');
      }
      const path = await resolveInside(root, pathname);
      if (path === null) return answer(response, 404, common, 'not found\n');
      if (modelHosts.length && path.endsWith('.html')) {
        // The page repeats the policy in a <meta>, and the stricter of the two counts: allow the same origins there.
        const html = (await readFile(path, 'utf8')).replace("connect-src 'self'", ["connect-src 'self'", ...modelHosts].join(' '));
        return sendText(request, response, common, kTypes['.html'], html);
      }
      await sendFile(request, response, common, path);
    } catch (error) {
      console.error(`serve: ${request.method} ${request.url}: ${error.message}`);
      if (response.headersSent) response.destroy();
      else answer(response, 500, common, 'internal error\n');
    }
  });
}

async function main() {
  const { values } = parseArgs({
    options: {
      root: { type: 'string' },
      port: { type: 'string', default: '8080' },
      'no-isolation': { type: 'boolean', default: false },
      'model-host': { type: 'string', multiple: true, default: [] },
      models: { type: 'string' },
    },
  });
  const port = Number(values.port);
  const server = await createAppServer({
    root: values.root,
    isolation: !values['no-isolation'],
    modelHosts: values['model-host'],
    models: values.models,
  });
  server.on('error', (error) => {
    const reason = error.code === 'EADDRINUSE' ? `port ${port} is taken; choose another with --port N` : error.message;
    console.error(`nutshell: ${reason}`);
    process.exit(1);
  });
  const stop = (code) => () => {
    server.closeAllConnections();
    server.close(() => process.exit(code));
  };
  process.on('SIGINT', stop(130)).on('SIGTERM', stop(143)).on('SIGHUP', stop(129));
  server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`));
}

if (process.argv[1] && (await realpath(process.argv[1])) === fileURLToPath(import.meta.url)) await main();
