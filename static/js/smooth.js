// The debiased exponential moving average that TensorBoard draws; app/comparing/curves.py has the same for curves it thins.

/**
 * Each point keeps `weight` of what came before it. What is no number stays so, and does not count.
 * @param {import("./plot/thin.js").Numbers} y @param {number} weight from 0 to below 1 @returns {Float32Array}
 */
export function smoothed(y, weight) {
  const result = new Float32Array(y.length);
  let last = 0, debias = 1;
  for (let i = 0; i < y.length; i++) {
    if (y[i] !== y[i]) {
      result[i] = NaN;
      continue;
    }
    last = last * weight + (1 - weight) * y[i];
    debias *= weight;
    result[i] = last / (1 - debias);
  }
  return result;
}
