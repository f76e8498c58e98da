// The table by keyboard: rows take the focus, letters do what the buttons do. `?` shows them all.

/** @param {HTMLElement} root */
export function keys(root) {
  const list = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
  root.querySelector("[data-keys]")?.addEventListener("click", () => list.showModal());
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("dialog, select, textarea, details[open], input:not([type=checkbox])")) return;
    const row = /** @type {HTMLTableRowElement | null} */ (target.closest("tbody tr"));
    const inTable = row !== null || target.closest(".scroll") !== null;
    if (act(event, root, list, row, inTable)) event.preventDefault();
  });
}

/** @param {KeyboardEvent} event @param {HTMLElement} root @param {HTMLDialogElement} list @param {HTMLTableRowElement | null} row @param {boolean} inTable @returns {boolean} whether the key meant something */
function act(event, root, list, row, inTable) {
  switch (event.key) {
    case "j":
      return step(root, row, 1);
    case "k":
      return step(root, row, -1);
    case "ArrowDown":
      return inTable && step(root, row, 1);
    case "ArrowUp":
      return inTable && step(root, row, -1);
    case "/":
      return focus(document.getElementById("search"));
    case "f":
      return focus(document.getElementById("filter"));
    case "?":
      list.showModal();
      return true;
  }
  return row !== null && actOnRow(event, row);
}

/** @param {KeyboardEvent} event @param {HTMLTableRowElement} row */
function actOnRow(event, row) {
  const isRow = event.target === row;
  switch (event.key) {
    case "x":
      return click(row, "input[name=runs]");
    case " ":
      return isRow && click(row, "input[name=runs]");
    case "Enter":
      return isRow && click(row, ".unfold, .named > a");
    case "s":
      return click(row, "[data-star]");
    case "e":
    case "t":
      return row.dispatchEvent(new CustomEvent("fitroom:edit", { bubbles: true, detail: event.key === "e" ? "name" : "tags" }));
    case "Escape":
      row.blur();
      return true;
    default:
      return false;
  }
}

/** @param {HTMLElement} root @param {HTMLTableRowElement | null} row @param {number} by */
function step(root, row, by) {
  const rows = [.../** @type {NodeListOf<HTMLTableRowElement>} */ (root.querySelectorAll("tbody tr"))];
  const next = rows[row ? rows.indexOf(row) + by : 0];
  if (next) next.tabIndex = -1;
  return focus(next ?? null) || row !== null;
}

/** @param {HTMLElement | null} element */
function focus(element) {
  element?.focus();
  element?.scrollIntoView({ block: "nearest" });
  return element !== null;
}

/** @param {HTMLElement} row @param {string} selector */
function click(row, selector) {
  const found = /** @type {HTMLElement | null} */ (row.querySelector(selector));
  found?.click();
  return found !== null;
}
