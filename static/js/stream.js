// A page's stream of events: it resumes where it left off, and rests while nobody looks. All windows of a browser share
// one connection (hub.js).

import { Hub } from "./hub.js";
import { patient } from "./patient.js";

/** @type {Hub | null} this window's own, where the browser has no shared workers: Chrome on Android */
let ownHub = null;

export class Stream {
  #topic;
  #cursor;
  #handlers;
  /** @type {MessagePort | null} */
  #port = null;
  #ended = false;

  /**
   * @param {string} address of a run's events or the table's, with an `after` parameter: the cursor that the page was made at
   * @param {Record<string, (data: any) => void>} handlers by event name; `connection` is told true and false
   */
  constructor(address, handlers) {
    const { pathname, searchParams } = new URL(address, location.href);
    const run = pathname.match(/\/runs\/(\d+)\/events$/);
    this.#topic = run ? `run-${run[1]}` : "table";
    this.#cursor = Number(searchParams.get("after") ?? 0);
    this.#handlers = handlers;
    document.addEventListener("visibilitychange", () => this.#followVisibility());
    addEventListener("pagehide", () => this.#leave());
    addEventListener("pageshow", () => this.#followVisibility());
    this.#followVisibility();
  }

  /** There is nothing more to come. */
  end() {
    this.#ended = true;
    this.#leave();
  }

  #followVisibility() {
    if (document.visibilityState === "hidden") this.#leave();
    else if (!this.#port && !this.#ended) this.#follow();
  }

  #follow() {
    this.#port = lineToHub();
    this.#port.onmessage = ({ data }) => this.#hear(data);
    this.#port.postMessage({ topic: this.#topic, after: this.#cursor });
  }

  /** @param {{connection?: boolean, id: number, kind: string, data: any}} told */
  #hear({ connection, id, kind, data }) {
    if (!this.#port) return;
    if (connection === false) askWhetherKnown();
    if (connection !== undefined) return this.#handlers.connection?.(connection);
    this.#cursor = id;
    this.#handlers[kind]?.(data);
  }

  #leave() {
    this.#port?.postMessage(null);
    this.#port = null;
  }
}

/** @type {Promise<unknown> | null} of this window: it lasts as long as the server is away, and each try of the hub is told */
let asked = null;

/** Streams do not say why they end: it may be that one has signed out. */
function askWhetherKnown() {
  asked ??= patient("/account").finally(() => {
    asked = null;
  });
}

/** @returns {MessagePort} */
function lineToHub() {
  if ("SharedWorker" in globalThis) {
    return new SharedWorker(new URL("hub_worker.js", import.meta.url), { type: "module", name: "fitroom" }).port;
  }
  const { port1, port2 } = new MessageChannel();
  (ownHub ??= new Hub()).join(port2);
  return port1;
}
