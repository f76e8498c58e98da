// A run's status, as the pages of one run and of several use it.

/** @param {{status: string}} run */
export function over(run) {
  return !["queued", "running"].includes(run.status);
}

/** @param {ParentNode} root @param {string} selector of the badge @param {{status: string}} run */
export function showBadge(root, selector, run) {
  const badge = /** @type {HTMLElement} */ (root.querySelector(selector));
  badge.dataset.status = badge.textContent = run.status;
}
