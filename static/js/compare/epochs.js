// The curves of the compared runs by epoch: each column is fetched when a chart first wants it, and new epochs join it.

import { bound } from "../plot/thin.js";
import { fetched } from "./packed.js";

/** @typedef {import("./packed.js").Columns} Columns */

export class EpochData {
  #address;
  /** @type {Map<number, Columns>} */
  #runs = new Map();
  /** @type {Map<string, Promise<void>>} columns that are here or on their way */
  #asked = new Map();

  /** @param {string} address of the runs: `runs=1-100,105` */
  constructor(address) {
    this.#address = address;
  }

  /** @param {number} id @returns {Columns} without a column that has not come yet */
  of(id) {
    return this.#runs.get(id) ?? {};
  }

  /** What has not been asked for yet, in one request. @param {string[]} names */
  async need(names) {
    const wanted = names.filter((name) => name !== "epoch" && !this.#asked.has(name));
    if (wanted.length || !this.#asked.size) {
      const coming = this.#fetch(this.#address, wanted, 0);
      for (const name of [...wanted, "epoch"]) this.#asked.set(name, coming);
    }
    await Promise.all(names.map((name) => this.#asked.get(name)));
  }

  /** The epochs that these runs have done since. @param {number[]} ids */
  async more(ids) {
    const names = [...this.#asked.keys()].filter((name) => name !== "epoch");
    const after = Math.min(...ids.map((id) => last(this.of(id).epoch) ?? 0));
    await this.#fetch(`runs=${ids.join(",")}`, names, after);
  }

  /** @param {string} runs @param {string[]} names @param {number} after */
  async #fetch(runs, names, after) {
    const columns = names.length ? names.join(",") : "val_accuracy";
    const { runs: came } = await fetched(`/api/v1/compare/curves?${runs}&columns=${columns}&after=${after}`);
    for (const [id, fresh] of came) this.#runs.set(id, joined(this.of(id), fresh, after));
  }
}

/** @param {Columns} known @param {Columns} fresh epochs after `after` @param {number} after @returns {Columns} */
function joined(known, fresh, after) {
  if (!after) return { ...known, ...fresh };
  const kept = known.epoch ? bound(known.epoch, after + 0.5) : 0;
  const base = kept && known.seconds ? known.seconds[kept - 1] : 0;
  /** @type {Columns} */ const whole = {};
  for (const [name, values] of Object.entries(fresh)) {
    const both = new /** @type {any} */ (values.constructor)(kept + values.length);
    if (known[name]) both.set(known[name].subarray(0, kept));
    both.set(name === "seconds" ? values.map((value) => value + base) : values, kept);
    whole[name] = both;
  }
  return whole;
}

/** @param {Float32Array | Float64Array | undefined} column */
function last(column) {
  return column?.[column.length - 1];
}
