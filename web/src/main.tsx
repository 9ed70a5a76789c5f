// The web app. Its modules:
//
//   http, session, api   one HTTP request; the session; the API calls
//   discodeit-client     the two streams and the outbox, see clients/typescript
//   live/                the two streams: STOMP for messages, server-sent events for everything else; one of each for all
//                        tabs, in a SharedWorker
//   state/               the state, in signals; imports no view
//   views/               components, which render the state
//   text/                formats of times and sizes; message text as a tree
//   i18n/                the language: sentences, plurals, errors
//   picture, visible     scales a profile picture; whether this tab is visible
//   focus                whether the next composer takes the focus
//   highlight/           colours of code, in a worker
//   clipboard, badge     copies text; the number in the icon of the tab
//   theme                dark or light
//   install              the service worker, which starts the app without a network; the manifest
//   kept                 what can be read without a network
//   frames               work done once a frame
//   workspace, route     what runs while a user is signed in; the channel in the URL
//
// Views call state, state calls api and live; never the reverse.

import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/people.css";
import "./styles/auth.css";
import "./styles/layout.css";
import "./styles/lists.css";
import "./styles/messages.css";
import "./styles/reactions.css";
import "./styles/search.css";
import "./styles/composer.css";
import "./styles/files.css";
import "./styles/dialogs.css";
import "./styles/popovers.css";
import "./styles/overlays.css";
import "./styles/touch.css";
import { effect, untracked } from "@preact/signals";
import { render } from "preact";
import { loadLanguage } from "./i18n";
import { install } from "./install";
import { me, start } from "./session";
import "./theme";
import { App } from "./views/app";
import { openWorkspace } from "./workspace";

const INSTALL_AFTER_MS = 3_000;

let close: (() => void) | null = null;
let owner: string | undefined;

effect(() => {
  const user = me.value?.id;
  if (user === owner) return;
  owner = user;
  untracked(() => {
    close?.();
    close = user ? openWorkspace() : null;
  });
});

const root = document.getElementById("app") as HTMLElement;
// Until then, the splash of index.html stays.
void loadLanguage().then(() => {
  root.replaceChildren();
  render(<App />, root);
  // The first requests of the app come before.
  setTimeout(() => void install(), INSTALL_AFTER_MS);
});
void start();
