// Sends files in pieces and goes on where it broke off: the client's side of the upload protocol, without a page.

import { crc32, written } from "./crc32.js";

const SMALLEST = 256 * 1024;
const LARGEST = 16 * 1024 * 1024;
const READ_AT_ONCE = 8 * 1024 * 1024;
const SECONDS_A_PIECE = 1;
const LONGEST_WAIT_S = 15;
const MOST_DAMAGED = 5;

/** Nothing that trying again would mend; the message is for a person. */
export class Refused extends Error {}
/** Worth trying again in a while. */
class Broken extends Error {}

/** @typedef {{id: string, files: {filename: string, size: number, offset: number, url: string}[]}} Upload */
/** @typedef {{sent: (bytes: number) => void, waiting: (seconds: number) => void, going: () => void}} Listener */

/** Announce files. @param {File[]} files @param {string} name @returns {Promise<Upload>} */
export async function announce(files, name) {
  const told = files.map((file) => ({ filename: file.name, size: file.size }));
  const answer = await fetch("/api/v1/uploads", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name, files: told }),
  }).catch(() => {
    throw new Refused("The server did not answer. Please try again.");
  });
  if (!answer.ok) throw new Refused(await reason(answer));
  return answer.json();
}

/**
 * Send a file to its address until all of it is there; lost connections are waited for.
 * Raises `Refused`, and an AbortError when `signal` says so.
 * @param {string} url @param {File} file @param {Listener} listener @param {AbortSignal} signal
 */
export async function send(url, file, listener, signal) {
  const sender = new Sender(url, file, listener, signal);
  for (let failures = 0; ; ) {
    try {
      await sender.goOn(() => (failures = 0));
      return;
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      await pause(Math.min(LONGEST_WAIT_S, 2 ** failures++ / 2), listener, signal);
    }
  }
}

class Sender {
  #url;
  #file;
  #listener;
  #signal;
  #offset = 0;
  #crc = 0;
  #length = 1024 * 1024;

  /** @param {string} url @param {File} file @param {Listener} listener @param {AbortSignal} signal */
  constructor(url, file, listener, signal) {
    this.#url = url;
    this.#file = file;
    this.#listener = listener;
    this.#signal = signal;
  }

  /** @param {() => void} arrived called after each piece that has arrived */
  async goOn(arrived) {
    await this.#ask();
    this.#listener.going();
    for (let damaged = 0; this.#offset < this.#file.size; ) {
      if (await this.#piece()) {
        damaged = 0;
        arrived();
      } else if (++damaged > MOST_DAMAGED) {
        throw new Refused("The file arrives damaged again and again. The connection may be to blame.");
      }
    }
  }

  /** Where the server is, and whether what it has is the beginning of this file. */
  async #ask() {
    const answer = await fetch(this.#url, { method: "HEAD", signal: this.#signal }).catch(broken(this.#signal));
    if (answer.status === 404) throw new Refused("This upload is gone: it was discarded, or left for a day. Please begin again.");
    if (!answer.ok) throw failure(answer.status, await reason(answer));
    const offset = Number(answer.headers.get("Upload-Offset"));
    if (offset < this.#offset) [this.#offset, this.#crc] = [0, 0];
    while (this.#offset < offset) this.#count(await this.#read(Math.min(READ_AT_ONCE, offset - this.#offset)));
    if (answer.headers.get("Upload-Checksum") !== written(this.#crc)) {
      throw new Refused(`${this.#file.name} is not the file that was being uploaded, or it has changed since. Discard that upload to begin again.`);
    }
    this.#listener.sent(this.#offset);
  }

  /** Send the next piece; false where it arrived damaged. */
  async #piece() {
    const bytes = await this.#read(Math.min(this.#length, this.#file.size - this.#offset));
    const begun = performance.now();
    const answer = await this.#patch(bytes);
    if (answer.status === 422) return false;
    // Another page sends the same file, or an answer was lost on its way: ask anew.
    if (answer.status === 409) throw new Broken();
    if (answer.status !== 204) throw failure(answer.status, detail(answer.responseText));
    this.#count(bytes);
    // Piece by piece right, and right as a whole: the server has counted the same.
    if (answer.getResponseHeader("Upload-Checksum") !== written(this.#crc)) throw new Broken();
    const seconds = (performance.now() - begun) / 1000;
    const wanted = (this.#length * SECONDS_A_PIECE) / Math.max(seconds, 0.05);
    this.#length = Math.max(SMALLEST, Math.min(LARGEST, 2 * this.#length, wanted));
    return true;
  }

  /** fetch does not tell how much of a body is gone; XMLHttpRequest does. @param {Uint8Array<ArrayBuffer>} bytes @returns {Promise<XMLHttpRequest>} */
  #patch(bytes) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("PATCH", this.#url);
      request.setRequestHeader("Content-Type", "application/offset+octet-stream");
      request.setRequestHeader("Upload-Offset", String(this.#offset));
      request.setRequestHeader("Upload-Checksum", written(crc32(bytes)));
      request.upload.onprogress = (event) => this.#listener.sent(this.#offset + Math.min(event.loaded, bytes.length));
      request.onload = () => resolve(request);
      request.onerror = () => reject(new Broken());
      request.onabort = () => reject(this.#signal.reason);
      const stop = () => request.abort();
      this.#signal.addEventListener("abort", stop, { once: true });
      request.onloadend = () => this.#signal.removeEventListener("abort", stop);
      if (this.#signal.aborted) reject(this.#signal.reason);
      else request.send(bytes);
    });
  }

  /** @param {number} length */
  async #read(length) {
    const piece = this.#file.slice(this.#offset, this.#offset + Math.ceil(length));
    const buffer = await piece.arrayBuffer().catch(() => {
      throw new Refused(`${this.#file.name} cannot be read any more; it may have been moved or changed. Choose it again.`);
    });
    return new Uint8Array(buffer);
  }

  /** @param {Uint8Array} bytes */
  #count(bytes) {
    this.#crc = crc32(bytes, this.#crc);
    this.#offset += bytes.length;
    this.#listener.sent(this.#offset);
  }
}

/** @param {number} seconds @param {Listener} listener @param {AbortSignal} signal */
function pause(seconds, listener, signal) {
  listener.waiting(seconds);
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal.removeEventListener("abort", stop);
      resolve(undefined);
    };
    const stop = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      reject(signal.reason);
    };
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", done);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** @param {AbortSignal} signal @returns {() => never} */
const broken = (signal) => () => {
  throw signal.aborted ? signal.reason : new Broken();
};

/** What a status means for going on. @param {number} status @param {string} words */
function failure(status, words) {
  const passes = status >= 500 && status !== 507;
  return passes || status === 429 || status === 408 ? new Broken() : new Refused(words);
}

/** @param {Response} answer */
const reason = async (answer) => detail(await answer.text());

/** The sentence in a problem+json answer, or the text of another. @param {string} text */
function detail(text) {
  try {
    const told = JSON.parse(text);
    return told.errors ? Object.values(told.errors).join(" ") : told.detail;
  } catch {
    return text.trim() || "The server refused the upload.";
  }
}
