// A curve of many points as what a chart of some width can show of it, exactly: of each column of pixels the first, the
// least, the greatest and the last point (M4; app/comparing/thinning.py does the same on the server and names the paper).

/** @typedef {Float32Array | Float64Array | number[]} Numbers */

/** The first place whose value is at least `value`. @param {Numbers} x ascending @param {number} value */
export function bound(x, value) {
  let low = 0, high = x.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Places of the points to draw between `from` and `to`, and of one more at either side.
 * @param {Numbers} x ascending @param {Numbers} y @param {number} from @param {number} to @param {number} width columns
 * @returns {Int32Array}
 */
export function kept(x, y, from, to, width) {
  const begin = bound(x, from), end = bound(x, nextAfter(to));
  const places = new Int32Array(Math.min(end - begin, 4 * (width + 1)) + 2);
  let count = 0;
  if (begin > 0) places[count++] = begin - 1;
  if (end - begin <= 4 * width) for (let i = begin; i < end; i++) places[count++] = i;
  else count = extremes(x, y, from, width / (to - from), begin, end, places, count);
  if (end < x.length) places[count++] = end;
  return places.subarray(0, count);
}

/** @param {Numbers} x @param {Numbers} y @param {number} from @param {number} scale @param {number} begin @param {number} end @param {Int32Array} places @param {number} count */
function extremes(x, y, from, scale, begin, end, places, count) {
  let first = begin, low = begin, high = begin, column = Math.floor((x[begin] - from) * scale);
  for (let i = begin + 1; i <= end; i++) {
    const now = i < end ? Math.floor((x[i] - from) * scale) : -1;
    if (now === column) {
      // A comparison with NaN is false, so an extreme that is none gives way to the first that is one.
      if (!(y[i] >= y[low]) && y[i] === y[i]) low = i;
      if (!(y[i] <= y[high]) && y[i] === y[i]) high = i;
      continue;
    }
    const nearer = Math.min(low, high), further = Math.max(low, high), last = i - 1;
    places[count++] = first;
    if (nearer > first) places[count++] = nearer;
    if (further > nearer && further > first) places[count++] = further;
    if (last > further) places[count++] = last;
    first = low = high = i;
    column = now;
  }
  return count;
}

/** The least number above. @param {number} value */
function nextAfter(value) {
  return value + Math.max(Math.abs(value) * Number.EPSILON, Number.MIN_VALUE);
}
