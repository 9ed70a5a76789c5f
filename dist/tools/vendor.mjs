// Copies the app's libraries from node_modules to vendor/, in a form that browsers load without a build step.
//
// It makes two changes. Bare imports ("preact") become relative, because an import map must be inline in index.html, which
// our Content-Security-Policy forbids. The two libraries published as UMD are wrapped as ES modules. A one-line .d.ts next
// to each file refers the type checker to the package's types.

import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const packages = join(root, "node_modules");
const vendor = join(root, "vendor");

/** Files to copy: our name, the package's file, its format, and the specifier that it replaces. */
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

/** Packages in sockjs-client's bundle, whose licences are copied too. */
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
// Unchanged: the page of SockJS's iframe transports loads it as a plain script, in the app's version.
await cp(join(packages, "sockjs-client/dist/sockjs.min.js"), join(vendor, "sockjs.min.js"));
const names = files.map(({ from }) => from.split("/").slice(0, from.startsWith("@") ? 2 : 1).join("/"));
for (const name of new Set([...names, ...bundled])) await copyLicence(name);
console.log(`vendor: ${files.length + 1} files`);
