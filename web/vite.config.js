import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const out = new URL("../dist/", import.meta.url);

/** Empties dist/ of everything but its README, after all sources have compiled, so that an error leaves the old files. */
const emptyDist = {
  name: "empty-dist",
  apply: "build",
  async generateBundle() {
    await mkdir(out, { recursive: true });
    for (const name of await readdir(out)) {
      if (name !== "README.md") await rm(new URL(name, out), { recursive: true });
    }
  },
};

/** Adds the script that the page of SockJS's iframe transports loads, in the app's version (src/sockjs/options.rs). */
const sockjsScript = {
  name: "sockjs-script",
  apply: "build",
  async generateBundle() {
    const source = await readFile(new URL("node_modules/sockjs-client/dist/sockjs.min.js", import.meta.url), "utf8");
    const fileName = "vendor/sockjs.min.js";
    this.emitFile({ type: "asset", fileName, source: source.replace(/^\/\/# sourceMappingURL=.*$/m, "") });
  },
};

/** Adds the manifest and the icons, which other programs ask for by name. */
const installable = {
  name: "installable",
  apply: "build",
  async generateBundle() {
    const folder = new URL("installable/", import.meta.url);
    for (const fileName of await readdir(folder)) {
      this.emitFile({ type: "asset", fileName, source: await readFile(new URL(fileName, folder)) });
    }
  },
};

/** Adds the page that shows the API's description, at /api/docs. */
const apiDocs = {
  name: "api-docs",
  apply: "build",
  async generateBundle() {
    const own = new URL("api-docs/", import.meta.url);
    const library = new URL("node_modules/swagger-ui-dist/", import.meta.url);
    const files = [...(await readdir(own)).map((name) => [own, name])];
    for (const name of ["swagger-ui.css", "swagger-ui-bundle.js", "LICENSE", "NOTICE"]) files.push([library, name]);
    for (const [folder, name] of files) {
      const source = (await readFile(new URL(name, folder), "utf8")).replace(/^\S* ?# sourceMappingURL=.*$/m, "");
      // A name without a dot is a page of the app.
      this.emitFile({ type: "asset", fileName: `api-docs/${name.includes(".") ? name : `${name}.txt`}`, source });
    }
  },
};

/** Parts of markdown-it that messages do not use, which would double its size: named entities, and its own links. */
const unusedByMarkdown = {
  name: "unused-by-markdown",
  enforce: "pre",
  resolveId: (source, importer) =>
    importer?.includes("/markdown-it/") && ["entities", "linkify-it", "mdurl", "punycode.js"].includes(source)
      ? "\0unused-by-markdown"
      : undefined,
  load: (id) =>
    id === "\0unused-by-markdown"
      ? "export class LinkifyIt {} export const decodeHTMLStrict = (text) => text; export const parse = null; " +
        "export { parse as default, parse as format, parse as encode, parse as decode };"
      : undefined,
};

/** The modules that the app loads first. */
const firstModules = new Set();
const findFirstModules = {
  name: "find-first-modules",
  apply: "build",
  buildEnd() {
    const add = (id) => {
      if (firstModules.has(id)) return;
      firstModules.add(id);
      this.getModuleInfo(id)?.importedIds.forEach(add);
    };
    add(fileURLToPath(new URL("src/main.tsx", import.meta.url)));
  },
};

/** The modules of all scripts: the worker has a build of its own. */
const modules = new Set();
const collectModules = {
  name: "collect-modules",
  generateBundle(_, bundle) {
    for (const { moduleIds = [] } of Object.values(bundle)) for (const id of moduleIds) modules.add(id);
  },
};

/** Writes the licences of the libraries. Vite's own list lacks those of the worker. */
const licenses = {
  name: "licenses",
  apply: "build",
  async generateBundle() {
    const folders = new Set(
      [...modules].map((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0]).filter(Boolean),
    );
    const parts = ["# Licences of the libraries in the scripts"];
    for (const folder of [...folders].sort()) {
      const { name, version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
      const file = (await readdir(folder)).find((each) => /^(licen[cs]e|copying)/i.test(each));
      const text = file ? await readFile(`${folder}/${file}`, "utf8") : "";
      parts.push(`## ${name} - ${version} (${license})`, text.trim());
    }
    const emoji = await readFile(new URL("src/emoji/LICENSE", import.meta.url), "utf8");
    parts.push("## emojibase-data - 17.0.0 (MIT)", emoji.trim());
    this.emitFile({ type: "asset", fileName: "licenses.md", source: `${parts.join("\n\n")}\n` });
  },
};

export default defineConfig({
  // The client package, from its sources. Its libraries are in its own folder.
  resolve: {
    alias: { "discodeit-client": fileURLToPath(new URL("../clients/typescript/src/index.ts", import.meta.url)) },
  },
  plugins: [
    findFirstModules,
    emptyDist,
    sockjsScript,
    installable,
    apiDocs,
    unusedByMarkdown,
    collectModules,
    licenses,
  ],
  worker: { format: "es", plugins: () => [collectModules] },
  // sockjs-client uses Node's name of the global object.
  define: { global: "globalThis" },
  build: {
    outDir: "../dist",
    emptyOutDir: false,
    target: "es2022",
    // One script and one style sheet.
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
    rolldownOptions: {
      preserveEntrySignatures: "allow-extension",
      input: { index: "index.html", sw: "src/service-worker.ts" },
      output: {
        // Also what the app shares with its later chunks, which would be chunks of their own.
        codeSplitting: { groups: [{ name: "app", test: (id) => firstModules.has(id) }] },
        // A browser looks for a new version of the service worker at the same address.
        entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
      },
    },
  },
  // A test reads the error codes of the server.
  server: { fs: { allow: [".."] } },
  test: { environment: "happy-dom" },
});
