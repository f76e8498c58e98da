// Names, tags, notes and stars are changed where they stand. Without this script the pencil leads to a form.

/** @param {HTMLElement} root @param {() => Promise<void>} changed the rows have to be fetched again */
export function edits(root, changed) {
  if (!("mayChange" in root.dataset)) return;
  root.addEventListener("click", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest("[data-star]")) void star(rowOf(target), changed);
    else if (target.closest(".pencil")) {
      event.preventDefault();
      edit(rowOf(target), "name", changed);
    }
  });
  root.addEventListener("dblclick", (event) => {
    const cell = /** @type {HTMLElement} */ (event.target).closest("[data-edit]");
    if (cell instanceof HTMLElement) edit(rowOf(cell), cell.dataset.edit ?? "name", changed);
  });
  root.addEventListener("fitroom:edit", (event) => edit(rowOf(/** @type {HTMLElement} */ (event.target)), /** @type {CustomEvent} */ (event).detail, changed));
}

/** @param {HTMLElement} element @returns {HTMLTableRowElement} */
function rowOf(element) {
  return /** @type {HTMLTableRowElement} */ (element.closest("tr"));
}

/** @param {HTMLTableRowElement} row @param {() => Promise<void>} changed */
async function star(row, changed) {
  await patch(row, { starred: !("starred" in row.dataset) });
  await changed();
}

/** The answer's errors, or null when it is done. @param {HTMLTableRowElement} row @param {Record<string, unknown>} values @returns {Promise<string | null>} */
async function patch(row, values) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`/api/v1/runs/${row.dataset.runId}`, { method: "PATCH", body: JSON.stringify(values), headers });
  if (answer.ok) return null;
  const told = await answer.json();
  return Object.values(told.errors ?? {}).join(" ") || told.detail;
}

/** @param {HTMLTableRowElement} row @param {string} field @param {() => Promise<void>} changed */
function edit(row, field, changed) {
  const cell = /** @type {HTMLElement | null} */ (row?.querySelector(`[data-edit="${field}"]`) ?? row?.querySelector('[data-edit="name"]'));
  if (!cell || cell.querySelector(".in-place")) return;
  const shown = [...cell.children].map((child) => /** @type {HTMLElement} */ (child));
  const input = document.createElement(field === "notes" ? "textarea" : "input");
  const before = valueOf(row, cell, field);
  input.className = "in-place";
  input.value = before;
  input.setAttribute("aria-label", { name: "Name", tags: "Tags, separated by commas", notes: "Notes" }[field] ?? field);
  for (const child of shown) child.hidden = true;
  cell.append(input);
  input.focus();
  input.select();

  let over = false;
  /** @param {boolean} back whether the focus returns to the row */
  const close = (back) => {
    over = true;
    input.remove();
    cell.querySelector(".edit-error")?.remove();
    for (const child of shown) child.hidden = false;
    if (back) row.focus({ preventScroll: true });
  };
  /** @param {boolean} back */
  const save = async (back) => {
    if (over) return;
    if (input.value.trim() === before.trim()) return close(back);
    over = true;
    const error = await patch(row, { [field]: input.value });
    if (error === null) {
      close(back);
      await changed();
      return;
    }
    over = false;
    const told = cell.querySelector(".edit-error") ?? cell.appendChild(document.createElement("span"));
    told.className = "edit-error";
    told.setAttribute("role", "alert");
    told.textContent = error;
    input.setAttribute("aria-invalid", "true");
    input.focus();
  };
  input.addEventListener("keydown", (event) => {
    const key = /** @type {KeyboardEvent} */ (event);
    key.stopPropagation();
    if (key.key === "Escape") close(true);
    if (key.key === "Enter" && !key.shiftKey) {
      key.preventDefault();
      void save(true);
    }
  });
  input.addEventListener("blur", () => void save(false));
}

/** @param {HTMLTableRowElement} row @param {HTMLElement} cell @param {string} field */
function valueOf(row, cell, field) {
  if (field === "tags") return [...row.querySelectorAll(".tag")].map((tag) => tag.textContent).join(", ");
  return cell.querySelector("[data-value]")?.textContent ?? "";
}
