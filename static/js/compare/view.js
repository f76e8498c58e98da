// How the comparison is looked at: the form's fields, and the address that says the same.

const DEFAULTS = { x: "epoch", show: "four", smooth: "0", group: "", metric: "best_val_accuracy", sx: "", sy: "", sc: "", log: "", clip: "", slx: "", sly: "", axes: "", a: "", b: "" };

export class View {
  #forms;
  /** @type {Record<string, string>} */
  #values = { ...DEFAULTS };

  /** @param {HTMLFormElement[]} forms @param {(changed: string) => void} onChange told the name of the field */
  constructor(forms, onChange) {
    this.#forms = forms;
    for (const [name, value] of new URLSearchParams(location.search)) if (name in DEFAULTS) this.#values[name] = value;
    this.#read();
    for (const form of forms) {
      form.addEventListener("input", (event) => {
        this.#read();
        onChange(/** @type {HTMLInputElement} */ (event.target).name);
      });
      form.addEventListener("change", () => this.#write());
      form.addEventListener("submit", (event) => event.preventDefault());
    }
  }

  /** @param {string} name */
  get(name) {
    return this.#values[name] ?? "";
  }

  /** @param {string} name @param {string} value of a field that is in none of the forms */
  set(name, value) {
    this.#values[name] = value;
    this.#write();
  }

  get smooth() {
    return Number(this.#values.smooth) || 0;
  }

  /** The address of the same page, or of a part of it, in this view. @param {string} [path] */
  url(path = location.pathname) {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(this.#values)) {
      if (value === (DEFAULTS[/** @type {keyof DEFAULTS} */ (name)] ?? "")) query.delete(name);
      else query.set(name, value);
    }
    // Commas are allowed in a query, and an address is read by people too.
    return `${path}?${query.toString().replaceAll("%2C", ",")}`;
  }

  #read() {
    for (const form of this.#forms) {
      for (const field of form.elements) {
        if (!(field instanceof HTMLInputElement || field instanceof HTMLSelectElement)) continue;
        if (!field.name || field.type === "hidden") continue;
        const on = field instanceof HTMLInputElement && field.type === "checkbox";
        this.#values[field.name] = on ? (/** @type {HTMLInputElement} */ (field).checked ? "1" : "") : field.value;
      }
    }
  }

  #write() {
    history.replaceState(null, "", this.url());
  }
}
