// An EventSource that resumes where it left off, and rests while nobody looks: a browser allows six connections to
// one server, so tabs in the background must not hold one each.

export class Stream {
  #address;
  #handlers;
  /** @type {EventSource | null} */
  #source = null;
  #cursor = "";
  #ended = false;

  /**
   * @param {string} address with an `after` parameter: the cursor that the page was made at
   * @param {Record<string, (data: any) => void>} handlers by event name; `connection` is told true and false
   */
  constructor(address, handlers) {
    this.#address = new URL(address, location.href);
    this.#cursor = this.#address.searchParams.get("after") ?? "0";
    this.#handlers = handlers;
    document.addEventListener("visibilitychange", () => this.#followVisibility());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", () => this.#followVisibility());
    this.#followVisibility();
  }

  /** There is nothing more to come. */
  end() {
    this.#ended = true;
    this.#close();
  }

  #followVisibility() {
    if (document.visibilityState === "hidden") this.#close();
    else if (!this.#source && !this.#ended) this.#open();
  }

  #open() {
    this.#address.searchParams.set("after", this.#cursor);
    const source = new EventSource(this.#address);
    this.#source = source;
    source.addEventListener("open", () => this.#handlers.connection?.(true));
    source.addEventListener("error", () => {
      if (this.#source !== source) return;
      this.#handlers.connection?.(false);
      // The browser gives up for good on some errors, a restarting proxy's among them; 204 is the server's "that is all".
      if (source.readyState === EventSource.CLOSED) this.#retry();
    });
    for (const [name, handle] of Object.entries(this.#handlers)) {
      if (name === "connection") continue;
      source.addEventListener(name, (event) => {
        this.#cursor = event.lastEventId || this.#cursor;
        handle(JSON.parse(event.data));
      });
    }
  }

  #retry() {
    this.#close();
    setTimeout(() => this.#followVisibility(), 2000);
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }
}
