// The script of the SharedWorker. A browser without one runs it in each page, which then sends itself the event.
import { attach } from "./hub";

addEventListener("connect", (event) => attach((event as MessageEvent).ports[0]));
