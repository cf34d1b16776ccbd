// The service worker: keeps the page's own files (the shell) so that the page opens without a network. Models are never
// here; the library keeps them in the origin private file system. One cache per build: all files of a build are fetched
// at installation, answers come from it, and older caches go when a new build takes over. Cached responses keep their
// headers, so cross-origin isolation holds offline too. What making models smaller needs is kept from its first use on.

interface Shell {
  version: string;
  files: string[];
  later: string[]; // kept when they are first used
}

interface LifeEvent extends Event {
  waitUntil(work: Promise<unknown>): void;
}

interface AskEvent extends LifeEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

interface Scope extends EventTarget {
  readonly clients: { claim(): Promise<void> };
  readonly registration: ServiceWorkerRegistration;
  skipWaiting(): Promise<void>;
}

const scope = globalThis as unknown as Scope;

// The build puts {version, files, later} in the place of this text; files are relative to the page.
const kShell = "__NUTSHELL_SHELL__" as unknown as Shell;

const kPrefix = 'nutshell-shell-';
const kCache = `${kPrefix}${kShell.version}`;
const kLists = 'nutshell-lists'; // models.json, as last seen
const kPatienceMs = 2500; // how long a slow network may delay the opening of the page

const absolute = (path: string): string => new URL(path, scope.registration.scope).href;
const kPage = absolute('index.html');
const kBench = absolute('bench/index.html'); // a page on its own; always the one of this build
const kBenchAddresses = new Set([absolute('bench'), absolute('bench/'), kBench]);
const kFiles = new Set(kShell.files.map(absolute));
const kLater = new Set(kShell.later.map(absolute));
const kUsed = absolute('later-used'); // no file: the mark that some of them were wanted here

async function install(): Promise<void> {
  const cache = await caches.open(kCache);
  const urls = (await usedLater()) ? [...kFiles, ...kLater] : [...kFiles];
  await cache.addAll(urls.map((url) => new Request(url, { cache: 'no-cache' })));
}

/** Whether later files were used here, of this build or an older one: who had them offline keeps that with a new build. */
async function usedLater(): Promise<boolean> {
  return (await (await caches.open(kLists)).match(kUsed)) !== undefined;
}

async function activate(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith(kPrefix) && name !== kCache);
  await Promise.all(old.map((name) => caches.delete(name)));
  await scope.clients.claim();
}

/** Cache first; what is missing there (evicted by the browser) comes from the network. */
async function shellFile(request: Request): Promise<Response> {
  const cache = await caches.open(kCache);
  return (await cache.match(request.url, { ignoreVary: true })) ?? fetch(request);
}

function within(ms: number, work: Promise<Response>): Promise<Response> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('slow network')), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

// The server may allow other origins from one start to the next; that is no other build.
const withoutPolicy = (html: string): string => html.replace(/<meta http-equiv="Content-Security-Policy"[^>]*>/i, '');

/**
 * The page: from the network while it is the page of this build (its headers and policy are then the server's present
 * ones), else from the cache. A page of another build would ask for files this cache does not have: it has to wait until
 * its own worker is installed.
 */
async function page(event: AskEvent): Promise<Response> {
  const cache = await caches.open(kCache);
  const kept = await cache.match(kPage, { ignoreVary: true });
  if (!kept) return fetch(event.request);
  try {
    const fresh = await within(kPatienceMs, fetch(event.request));
    const [now, before] = await Promise.all([fresh.clone().text(), kept.clone().text()]);
    if (fresh.ok && withoutPolicy(now) === withoutPolicy(before)) {
      event.waitUntil(cache.put(kPage, fresh.clone()));
      return fresh;
    }
    event.waitUntil(scope.registration.update().catch(() => undefined));
  } catch {
    // no network or a slow one
  }
  return kept;
}

/** As shellFile(), and kept from now on. */
async function laterFile(request: Request): Promise<Response> {
  const cache = await caches.open(kCache);
  const kept = await cache.match(request.url, { ignoreVary: true });
  if (kept) return kept;
  const fresh = await fetch(request);
  if (fresh.ok) await cache.put(request.url, fresh.clone());
  await (await caches.open(kLists)).put(kUsed, new Response());
  return fresh;
}

/** The server's list of models: the present one, or the last one seen. */
async function list(request: Request): Promise<Response> {
  const cache = await caches.open(kLists);
  try {
    const fresh = await within(kPatienceMs, fetch(request));
    if (fresh.ok) await cache.put(request.url, fresh.clone());
    return fresh;
  } catch {
    return (await cache.match(request.url, { ignoreVary: true })) ?? Response.error();
  }
}

function answer(event: AskEvent): void {
  const { request } = event;
  if (request.method !== 'GET' || request.headers.has('range')) return;
  const url = request.url.split(/[?#]/)[0] ?? '';
  if (request.mode === 'navigate') {
    if (url === absolute('./') || url === kPage) event.respondWith(page(event));
    else if (kBenchAddresses.has(url)) event.respondWith(shellFile(new Request(kBench)));
  } else if (kFiles.has(url)) {
    event.respondWith(shellFile(request));
  } else if (kLater.has(url)) {
    event.respondWith(laterFile(request));
  } else if (url === absolute('models.json')) {
    event.respondWith(list(request));
  }
}

scope.addEventListener('install', (event) => (event as LifeEvent).waitUntil(install()));
scope.addEventListener('activate', (event) => (event as LifeEvent).waitUntil(activate()));
scope.addEventListener('fetch', (event) => answer(event as AskEvent));
scope.addEventListener('message', (event) => {
  const data: unknown = (event as MessageEvent).data;
  if ((data as { type?: unknown } | null)?.type === 'activate') void scope.skipWaiting();
});
