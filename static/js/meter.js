// How far an upload is, how fast it goes, and how long it still takes.

import { fileSize, format } from "./format.js";

/** Shows how far all files together are, how fast it goes, and how long it still takes. */
export class Meter {
  #root;
  /** @type {number[]} */
  #sent = [];
  #total = 0;
  /** @type {[number, number][]} moments and bytes of the last seconds */
  #trail = [];
  #tenth = -1;
  paused = false;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
  }

  /** @param {File[]} files */
  begin(files) {
    this.#sent = files.map(() => 0);
    this.#total = files.reduce((sum, file) => sum + file.size, 0);
    this.#find("[data-sending]").hidden = false;
    this.#find("[data-sending-title]").textContent = `Uploading ${files.map((file) => file.name).join(", ")}`;
    this.#show();
  }

  /** What a file's sender tells. @param {number} place */
  of(place) {
    return {
      sent: (/** @type {number} */ bytes) => {
        this.#sent[place] = bytes;
        this.#show();
      },
      waiting: (/** @type {number} */ seconds) => {
        this.#trail = [];
        this.say(`The connection is lost. Trying again in ${format.duration(seconds)}; what has arrived is kept.`);
      },
      going: () => this.say("Uploading."),
    };
  }

  pause() {
    this.paused = true;
    this.#trail = [];
    this.#find("[data-pause]").textContent = "Go on";
    this.say("Paused. What has arrived is kept for a day.");
  }

  go() {
    this.paused = false;
    this.#find("[data-pause]").textContent = "Pause";
  }

  /** To everybody, and to screen readers at once. @param {string} words */
  say(words) {
    this.#find("[data-words]").textContent = words;
    this.#find("[data-said]").textContent = words;
  }

  #show() {
    const sent = this.#sent.reduce((sum, bytes) => sum + bytes, 0);
    const now = performance.now();
    this.#trail.push([now, sent]);
    while (this.#trail.length > 2 && now - this.#trail[0][0] > 5000) this.#trail.shift();
    const [[then, before]] = this.#trail;
    const pace = now > then ? ((sent - before) * 1000) / (now - then) : 0;
    const words = [`${fileSize(sent)} of ${fileSize(this.#total)}`];
    if (pace > 0) words.push(`${fileSize(pace)} a second`, `${format.duration((this.#total - sent) / pace)} left`);
    const progress = /** @type {HTMLProgressElement} */ (this.#find("[data-progress]"));
    progress.value = this.#total ? sent / this.#total : 0;
    this.#find("[data-words]").textContent = words.join(", ");
    const tenth = Math.floor(progress.value * 10);
    if (tenth !== this.#tenth) this.#find("[data-said]").textContent = `${tenth * 10} % uploaded`;
    this.#tenth = tenth;
  }

  /** @param {string} selector @returns {HTMLElement} */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.#root.querySelector(selector));
  }
}
