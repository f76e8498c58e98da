// Reads what app/comparing/curves.py packs: a header, then columns of numbers that are used where they lie.

import { patient } from "../patient.js";

/** @typedef {Record<string, Float32Array | Float64Array>} Columns */
/** @typedef {{runs: Map<number, Columns>, facts: Record<string, any>}} Unpacked */

/** @param {ArrayBuffer} buffer @returns {Unpacked} */
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const { runs: listed, columns, ...facts } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const total = listed.reduce((/** @type {number} */ sum, /** @type {any} */ run) => sum + run.points, 0);
  const runs = new Map(listed.map((/** @type {any} */ run) => [run.id, {}]));
  let offset = 4 + length;
  for (const { name, type } of columns) {
    const Numbers = type === "f8" ? Float64Array : Float32Array;
    let begin = 0;
    for (const { id, points } of listed) {
      /** @type {any} */ (runs.get(id))[name] = new Numbers(buffer, offset + begin * Numbers.BYTES_PER_ELEMENT, points);
      begin += points;
    }
    offset += total * Numbers.BYTES_PER_ELEMENT;
  }
  return { runs, facts };
}

/** @param {string} url @param {AbortSignal} [signal] @returns {Promise<Unpacked>} */
export async function fetched(url, signal) {
  const answer = await patient(url, { signal });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return unpacked(await answer.arrayBuffer());
}
