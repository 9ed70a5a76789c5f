// Makes the app installable, and lets it start without a network, see service-worker.ts.

/** After the start, which must not wait for it. Where service workers are blocked or missing, nothing changes. */
export async function install() {
  const manifest = document.createElement("link");
  manifest.rel = "manifest";
  manifest.href = "/manifest.json";
  document.head.append(manifest);
  try {
    await navigator.serviceWorker.register("/sw.js");
    const { active } = await navigator.serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => new URL(name));
    const assets = loaded.filter(
      ({ origin, pathname }) => origin === location.origin && pathname.startsWith("/assets/"),
    );
    active?.postMessage([...new Set(assets.map(({ pathname }) => pathname))]);
  } catch (error) {
    console.debug("no service worker:", error);
  }
}
