// What the chosen network is made of: asked from the server as the settings change.

const WAIT_MS = 250;
const whole = new Intl.NumberFormat("en");

export class Network {
  #root;
  #form;
  #asked = "";
  #timer = 0;

  /** @param {HTMLElement} root @param {HTMLFormElement} form */
  constructor(root, form) {
    this.#root = root;
    this.#form = form;
    root.hidden = false;
  }

  /** Ask again, when the settings have not changed for a moment and are others than before. */
  refresh() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), WAIT_MS);
  }

  async #ask() {
    const arch = String(new FormData(this.#form).get("arch"));
    const relevant = [...new FormData(this.#form)].filter(
      ([name]) => ["dataset", "csv_shape", "image_size", "arch", "dropout"].includes(name) || name.startsWith(`${arch}_`),
    );
    const body = JSON.stringify(Object.fromEntries(relevant));
    if (body === this.#asked) return;
    this.#asked = body;
    try {
      const answer = await fetch("/api/v1/network", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      const told = await answer.json();
      if (body !== this.#asked) return; // an answer to older settings
      if (answer.ok) this.#show(told);
      else this.#refuse(told.errors ? Object.values(told.errors).join(" ") : told.detail);
    } catch {
      this.#asked = "";
      this.#refuse("The server did not answer.");
    }
  }

  /** @param {any} network */
  #show({ parameters, flops, weight_bytes: bytes, layers }) {
    const summary = this.#find("[data-network-summary]");
    summary.className = "soft";
    summary.replaceChildren(
      strong(whole.format(parameters)), " parameters, ",
      strong(`${(bytes / 1e6).toFixed(1)} MB`), " of weights, ",
      strong(`${(flops / 1e6).toFixed(1)} MFLOPs`), " for one image forward",
    );
    const rows = layers.map((/** @type {any} */ layer) => row(layer));
    this.#find("tbody").replaceChildren(...rows);
    this.#find("[data-network-layers]").hidden = false;
  }

  /** @param {string} words */
  #refuse(words) {
    const summary = this.#find("[data-network-summary]");
    summary.className = "bad";
    summary.textContent = words;
    this.#find("[data-network-layers]").hidden = true;
  }

  /** @param {string} selector @returns {HTMLElement} */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.#root.querySelector(selector));
  }
}

/** @param {string} text */
function strong(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}

/** @param {any} layer */
function row({ name, kind, output, parameters, flops }) {
  const line = document.createElement("tr");
  const numbers = [output.join(" × "), whole.format(parameters), flops ? (flops / 1e6).toFixed(2) : "–"];
  for (const [place, text] of [name, kind, ...numbers].entries()) {
    const cell = line.appendChild(document.createElement("td"));
    cell.textContent = text;
    if (place > 1) cell.className = "n";
  }
  return line;
}
