// The service worker: starts the app without a network, from the page and the assets of the last start.
//
// It never answers for the API or the sockets. Assets have hashes in their names, so a copy is as good as the server's. The page
// comes from the network whenever there is one, so that a new version is used at the next load.

interface ExtendableEvent extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface InstallEvent extends ExtendableEvent {
  addRoutes?(rules: unknown[]): Promise<void>;
}
interface FetchEvent extends ExtendableEvent {
  request: Request;
  preloadResponse: Promise<Response | undefined>;
  respondWith(response: Promise<Response>): void;
}
interface Scope {
  registration: ServiceWorkerRegistration;
  clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install", handle: (event: InstallEvent) => void): void;
  addEventListener(type: "activate", handle: (event: ExtendableEvent) => void): void;
  addEventListener(type: "fetch", handle: (event: FetchEvent) => void): void;
  addEventListener(type: "message", handle: (event: ExtendableEvent & { data: string[] }) => void): void;
}

const scope = self as unknown as Scope;
const CACHE = "shell";
const PAGE = "/";
/** Those of older versions go when there are more. */
const MAX_ASSETS = 40;

const shell = () => caches.open(CACHE);

scope.addEventListener("install", (event) => {
  // Where the browser knows routes, it does not even ask this worker for the others.
  const bypass = event.addRoutes?.([
    { condition: { urlPattern: { pathname: "/api/*" } }, source: "network" },
    { condition: { urlPattern: { pathname: "/ws/*" } }, source: "network" },
  ]);
  event.waitUntil(Promise.all([bypass?.catch(() => {}), keepPage(fetch(PAGE)), scope.skipWaiting()]));
});

scope.addEventListener("activate", (event) => {
  // The request for the page does not wait until this worker has started.
  event.waitUntil(Promise.all([scope.registration.navigationPreload?.enable(), scope.clients.claim()]));
});

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (pathname.startsWith("/assets/")) event.respondWith(asset(request));
  // Pages of the app, as in nginx.conf: their last part has no dot. The API's own pages are not.
  else if (request.mode === "navigate" && !/^\/(api|ws)(\/|$)/.test(pathname) && !hasDot(pathname))
    event.respondWith(page(event));
});

const hasDot = (path: string) => path.slice(path.lastIndexOf("/")).includes(".");

/** The page lists the assets that it uses. */
scope.addEventListener("message", (event) => event.waitUntil(keepAssets(event.data)));

async function asset(request: Request) {
  const kept = await caches.match(request.url);
  if (kept) return kept;
  const response = await fetch(request);
  // The answer to a request for a part of a file cannot be kept.
  if (response.status === 200) await (await shell()).put(request.url, response.clone()).catch(() => {});
  return response;
}

async function page(event: FetchEvent) {
  try {
    const response = (await event.preloadResponse) ?? (await fetch(event.request));
    // A proxy in front of a server that is down.
    if (response.status >= 500) return (await caches.match(PAGE)) ?? response;
    event.waitUntil(keepPage(Promise.resolve(response.clone())).catch(() => {}));
    return response;
  } catch (error) {
    const kept = await caches.match(PAGE);
    if (kept) return kept;
    throw error;
  }
}

async function keepPage(answer: Promise<Response>) {
  const response = await answer;
  if (response.ok && !response.redirected) await (await shell()).put(PAGE, response);
}

async function keepAssets(used: string[]) {
  const cache = await shell();
  // From the browser's own cache, where they still are.
  await Promise.all(used.map(async (path) => (await cache.match(path)) ?? cache.add(path).catch(() => {})));
  const assets = (await cache.keys()).filter(({ url }) => new URL(url).pathname !== PAGE);
  if (assets.length <= MAX_ASSETS) return;
  const inUse = new Set(used);
  for (const request of assets) if (!inUse.has(new URL(request.url).pathname)) await cache.delete(request);
}
