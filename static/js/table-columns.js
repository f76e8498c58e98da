// The table's columns: widths by dragging, those that stay in sight, their order in the dialog, a second column to sort by.

const NARROWEST = 48;
const A_YEAR_S = 365 * 24 * 3600;

export class Columns {
  #root;
  /** Widths and offsets belong to columns, not to cells, which come and go: so they are rules. */
  #sheet = new CSSStyleSheet();
  /** @type {Map<string, number>} pixels by column */
  #widths = new Map();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, this.#sheet];
    for (const heading of this.#headings()) {
      if (heading.dataset.width) this.#widths.set(heading.dataset.key ?? "", Number(heading.dataset.width));
      heading.append(this.#grip(heading));
    }
    root.querySelector("thead")?.addEventListener("click", sortByOneMore);
    addEventListener("resize", () => this.#draw());
    this.#draw();
    chooser();
  }

  /** @returns {HTMLTableCellElement[]} */
  #headings() {
    return [...this.#root.querySelectorAll("th[data-key]")].map((heading) => /** @type {HTMLTableCellElement} */ (heading));
  }

  #draw() {
    const rules = [];
    for (const heading of this.#headings()) {
      const width = this.#widths.get(heading.dataset.key ?? "");
      const cells = `.runs tr > :nth-child(${heading.cellIndex + 1})`;
      if (width) rules.push(`${cells} { width: ${width}px; min-width: ${width}px; max-width: ${width}px; overflow: hidden; text-overflow: ellipsis; }`);
    }
    this.#sheet.replaceSync(rules.join("\n"));
    let left = 0;
    for (const heading of this.#headings().filter((one) => one.classList.contains("pinned"))) {
      rules.push(`.runs tr > :nth-child(${heading.cellIndex + 1}) { left: ${left}px; }`);
      left += heading.offsetWidth;
    }
    this.#sheet.replaceSync(rules.join("\n"));
  }

  /** By keyboard the width is set in the dialog. @param {HTMLTableCellElement} heading */
  #grip(heading) {
    const grip = document.createElement("span");
    grip.className = "grip";
    grip.title = "Drag to change the width, double-click to let it go";
    grip.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      grip.setPointerCapture(event.pointerId);
      const from = heading.offsetWidth - event.clientX;
      grip.onpointermove = (move) => this.#set(heading, Math.max(NARROWEST, Math.round(from + move.clientX)));
      grip.onpointerup = () => {
        grip.onpointermove = grip.onpointerup = null;
        this.#remember();
      };
    });
    grip.addEventListener("dblclick", () => {
      this.#set(heading, null);
      this.#remember();
    });
    return grip;
  }

  /** @param {HTMLTableCellElement} heading @param {number | null} width */
  #set(heading, width) {
    const key = heading.dataset.key ?? "";
    if (width === null) this.#widths.delete(key);
    else this.#widths.set(key, width);
    heading.removeAttribute("width");
    this.#draw();
  }

  /** In the address where it names the columns, else in this browser. */
  #remember() {
    /** @param {HTMLTableCellElement} heading */
    const word = (heading) => [heading.dataset.key ?? "", this.#widths.get(heading.dataset.key ?? "")].filter(Boolean).join(":");
    const pinned = this.#headings().filter((one) => one.classList.contains("pinned")).map(word).join(",");
    const rest = this.#headings().filter((one) => !one.classList.contains("pinned")).map(word).join(",");
    const text = pinned ? `${pinned}|${rest}` : rest;
    const address = new URL(location.href);
    if (address.searchParams.has("cols")) {
      address.searchParams.set("cols", text);
      history.replaceState(null, "", address);
    } else document.cookie = `fitroom-columns=${encodeURIComponent(text)}; path=/; max-age=${A_YEAR_S}; samesite=lax`;
  }
}

/** @param {Event} event */
function sortByOneMore(event) {
  const link = /** @type {HTMLElement} */ (event.target).closest("a");
  if (!link?.dataset.addUrl || !(/** @type {MouseEvent} */ (event).shiftKey)) return;
  event.preventDefault();
  location.assign(link.dataset.addUrl);
}

/** The list in which columns are chosen and moved. */
function chooser() {
  const form = document.getElementById("columns");
  form?.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-move]");
    const item = button?.closest("li");
    if (!(button instanceof HTMLElement) || !item) return;
    const other = button.dataset.move === "1" ? item.nextElementSibling : item.previousElementSibling;
    if (!other) return;
    if (button.dataset.move === "1") other.after(item);
    else other.before(item);
    button.focus();
    item.scrollIntoView({ block: "nearest" });
  });
  form?.querySelector("[data-find-column]")?.addEventListener("input", (event) => {
    const wanted = /** @type {HTMLInputElement} */ (event.target).value.toLowerCase();
    for (const item of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-column]"))) {
      const name = /** @type {HTMLInputElement} */ (item.querySelector("[name=col]")).value;
      item.hidden = !`${name} ${item.querySelector("label")?.textContent ?? ""}`.toLowerCase().includes(wanted);
    }
  });
}
