// The hub as a shared worker: there is one for all windows of a browser.

import { Hub } from "./hub.js";

const hub = new Hub();
addEventListener("connect", (event) => hub.join(/** @type {MessageEvent} */ (event).ports[0]));
