// Loaded before an example that lies outside of this folder: gives it what Node 20 lacks, and sockjs-client.
import { register } from "node:module";
import { WebSocket } from "ws";

globalThis.WebSocket ??= /** @type {any} */ (WebSocket);

const here = import.meta.url;
const hooks = `
  export const resolve = (name, context, next) =>
    next(name, name === "sockjs-client" ? { ...context, parentURL: ${JSON.stringify(here)} } : context);
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
