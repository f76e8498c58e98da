// Not more often than needed.

/** A function that runs `work` soon after it is called, at most once in `everyMs`. @param {() => void} work @param {number} everyMs */
export function paced(work, everyMs) {
  let ranAt = -Infinity;
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      ranAt = performance.now();
      work();
    }, Math.max(0, ranAt + everyMs - performance.now()));
  };
}
