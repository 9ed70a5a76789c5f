// The web app. Where things are:
//
//   http.js, session.js, api.js   one HTTP call; who is signed in; the calls by name
//   live/                         the two streams: STOMP for messages, server-sent events for hints
//   state/                        what is known, in signals; nothing here knows of the page
//   views/                        what is shown, from state alone
//   text/                         times, sizes, and message text as elements
//   picture.js, visible.js        a person's picture made small; whether anybody sees this tab
//   workspace.js, route.js        what runs while somebody is signed in; which channel the address names
//
// Views call state, state calls api and live; never the other way round.

import { me, start } from "./session.js";
import { effect, html, render, untracked } from "./ui.js";
import { App } from "./views/app.js";
import { openWorkspace } from "./workspace.js";

/** @type {(() => void) | null} */
let close = null;
/** @type {string | undefined} */
let owner;

effect(() => {
  const user = me.value?.id;
  if (user === owner) return;
  owner = user;
  untracked(() => {
    close?.();
    close = user ? openWorkspace() : null;
  });
});

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
void start();
