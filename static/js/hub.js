// One connection for all windows of a browser: it allows six to one server, and windows side by side each want live
// data. Every window says what it follows and what it has seen; the hub asks for all of it in one stream.

const ADDRESS = "/api/v1/streams";
const RETRY_MS = 2000;
/** Windows that are opened together become one request. */
const GATHER_MS = 20;

/**
 * What a window follows, the newest that it has been told, and whether the open stream was asked for on its behalf.
 * @typedef {{topic: string, after: number, served: boolean}} Follower
 */

export class Hub {
  /** @type {Map<MessagePort, Follower>} */
  #followers = new Map();
  /** @type {EventSource | null} */
  #source = null;
  #timer = 0;

  /** A window's line: it sends `{topic, after}` to follow, null to leave. @param {MessagePort} port */
  join(port) {
    port.onmessage = ({ data }) => {
      if (data) this.#followers.set(port, { ...data, served: false });
      else this.#followers.delete(port);
      this.#openSoon(GATHER_MS);
    };
  }

  /** @param {number} ms */
  #openSoon(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ms);
  }

  #open() {
    this.#source?.close();
    this.#source = null;
    if (!this.#followers.size) return;
    const wanted = [...this.#cursors()].map(([topic, after]) => ["follow", `${topic}@${after}`]);
    const source = new EventSource(`${ADDRESS}?${new URLSearchParams(wanted)}`);
    this.#source = source;
    for (const follower of this.#followers.values()) follower.served = true;
    source.onopen = () => this.#tellAll({ connection: true });
    source.onerror = () => {
      // The browser would ask for the same address again, with cursors that are out of date by then.
      source.close();
      this.#tellAll({ connection: false });
      this.#openSoon(RETRY_MS);
    };
    source.addEventListener("told", (event) => this.#pass(JSON.parse(event.data)));
  }

  /** What must be asked for: of each topic, what the follower that has seen least has not seen. */
  #cursors() {
    /** @type {Map<string, number>} */
    const cursors = new Map();
    for (const { topic, after } of this.#followers.values()) cursors.set(topic, Math.min(after, cursors.get(topic) ?? after));
    return cursors;
  }

  /** @param {{topic: string, id: number, kind: string, data: any}} told */
  #pass({ topic, id, kind, data }) {
    for (const [port, follower] of this.#followers) {
      // Who joined after the stream was opened has yet to hear what came before this.
      if (follower.topic !== topic || !follower.served) continue;
      if (kind === "end") this.#followers.delete(port);
      // Another follower may have been behind, and what it missed comes to all.
      else if (id > follower.after || kind === "deleted") {
        follower.after = Math.max(id, follower.after);
        port.postMessage({ id, kind, data });
      }
    }
    if (kind === "end" && !this.#followers.size) this.#openSoon(0);
  }

  /** @param {{connection: boolean}} message */
  #tellAll(message) {
    for (const port of this.#followers.keys()) port.postMessage(message);
  }
}
