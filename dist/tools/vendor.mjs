// Copies the libraries the app needs from node_modules to vendor/, ready for a browser that is given plain files.
//
// Two things have to change on the way. Bare imports ("preact") become relative ones, because an import map would
// have to stand inline in index.html, which our Content-Security-Policy forbids. And the two libraries published as
// UMD are wrapped to be ES modules. Nothing else is touched. Beside each file stands a one-line .d.ts that sends
// the type checker to the package's own types.

import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const packages = join(root, "node_modules");
const vendor = join(root, "vendor");

/** What is copied: our file, the package file it comes from, how it is published, and the specifier it stands for. */
const files = [
  { to: "preact.js", from: "preact/dist/preact.mjs", specifier: "preact" },
  { to: "preact-hooks.js", from: "preact/hooks/dist/hooks.mjs", specifier: "preact/hooks" },
  { to: "signals-core.js", from: "@preact/signals-core/dist/signals-core.mjs", specifier: "@preact/signals-core" },
  { to: "signals.js", from: "@preact/signals/dist/signals.mjs", specifier: "@preact/signals" },
  { to: "htm.js", from: "htm/dist/htm.mjs", specifier: "htm" },
  { to: "htm-preact.js", from: "htm/preact/index.mjs", specifier: "htm/preact" },
  { to: "eventsource-parser.js", from: "eventsource-parser/dist/index.js", specifier: "eventsource-parser" },
  { to: "eventsource.js", from: "eventsource/dist/index.js", specifier: "eventsource" },
  { to: "stomp.js", from: "@stomp/stompjs/bundles/stomp.umd.min.js", specifier: "@stomp/stompjs", umd: ["Client"] },
  { to: "sockjs.js", from: "sockjs-client/dist/sockjs.min.js", specifier: "sockjs-client", umd: ["default"] },
];

/** Packages inside sockjs-client's bundle: their licences travel with it. */
const bundled = ["url-parse", "querystringify", "requires-port", "inherits"];

const relative = new Map(files.map((file) => [file.specifier, `./${file.to}`]));

/** @param {string} code @param {string} name */
function relink(code, name) {
  return code
    .replace(/^\/\/# sourceMappingURL=.*$/gm, "")
    .replace(/(\bfrom\s*|\bimport\s*)(["'])([^."'][^"']*)\2/g, (_whole, keyword, _quote, specifier) => {
      const target = relative.get(specifier);
      if (!target) throw new Error(`${name} imports "${specifier}", which is not vendored`);
      return `${keyword}"${target}"`;
    });
}

/** @param {string} code @param {string[]} names */
function unwrapUmd(code, names) {
  const exports = names.map((name) =>
    name === "default" ? "export default module.exports;" : `export const ${name} = module.exports.${name};`,
  );
  return [
    "const module = { exports: {} };",
    "(function (module, exports) {",
    code.replace(/^\/\/# sourceMappingURL=.*$/gm, ""),
    "}).call(globalThis, module, module.exports);",
    ...exports,
    "",
  ].join("\n");
}

/** @param {{specifier: string, umd?: string[]}} file */
function types({ specifier, umd }) {
  return umd?.includes("default")
    ? `import it from "${specifier}";\nexport default it;\n`
    : `export * from "${specifier}";\n${specifier === "htm" ? `export { default } from "${specifier}";\n` : ""}`;
}

/** @param {string} name */
async function copyLicence(name) {
  const folder = join(packages, name);
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} has no licence file`);
  await cp(join(folder, file), join(vendor, "licenses", `${name.replace("/", "__")}.txt`));
}

await rm(vendor, { recursive: true, force: true });
await mkdir(join(vendor, "licenses"), { recursive: true });
for (const file of files) {
  const code = await readFile(join(packages, file.from), "utf8");
  await writeFile(join(vendor, file.to), file.umd ? unwrapUmd(code, file.umd) : relink(code, file.to));
  await writeFile(join(vendor, file.to.replace(/\.js$/, ".d.ts")), types(file));
}
// As it is: the page that SockJS's iframe transports load asks for it as a plain script, of the version the app uses.
await cp(join(packages, "sockjs-client/dist/sockjs.min.js"), join(vendor, "sockjs.min.js"));
const names = files.map(({ from }) => from.split("/").slice(0, from.startsWith("@") ? 2 : 1).join("/"));
for (const name of new Set([...names, ...bundled])) await copyLicence(name);
console.log(`vendor: ${files.length + 1} files`);
