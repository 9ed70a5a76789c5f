// The web app. Its modules:
//
//   http.js, session.js, api.js   one HTTP request; the session; the API calls
//   live/                         the two streams: STOMP for messages, server-sent events for everything else
//   state/                        the state, in signals; imports no view
//   views/                        components, which render the state
//   text/                         formats of times and sizes; message text as elements
//   picture.js, visible.js        scales a profile picture; whether this tab is visible
//   focus.js                      whether the next composer takes the focus
//   workspace.js, route.js        what runs while a user is signed in; the channel in the URL
//
// Views call state, state calls api and live; never the reverse.

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
