// The augmentation preview: training images as the form's settings would feed them, asked anew when those change.

const WAIT_MS = 250;
const ABOUT = ["dataset", "csv_shape", "train_size", "image_size", "seed"];

export class Augmented {
  #root;
  #form;
  #group;
  #shown = "";
  #timer = 0;

  /** @param {HTMLElement} root @param {HTMLFormElement} form */
  constructor(root, form) {
    this.#root = root;
    this.#form = form;
    this.#group = /** @type {HTMLDetailsElement} */ (root.closest("details"));
    root.hidden = false;
    this.#group.addEventListener("toggle", () => this.refresh());
  }

  /** Ask again when the settings have not changed for a moment; nobody asks for a picture in a closed group. */
  refresh() {
    clearTimeout(this.#timer);
    if (this.#group.open) this.#timer = setTimeout(() => void this.#ask(), WAIT_MS);
  }

  async #ask() {
    const names = new Set([...this.#group.querySelectorAll("input, select")].map((item) => /** @type {HTMLInputElement} */ (item).name));
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(this.#form)) {
      if (names.has(name) || ABOUT.includes(name)) query.append(name, String(value));
    }
    const address = `/api/v1/augmented.png?${query}`;
    if (address === this.#shown) return;
    this.#shown = address;
    const answer = await fetch(address).catch(() => null);
    if (address !== this.#shown) return; // an answer to older settings
    if (!answer?.ok) {
      const told = await answer?.json().catch(() => null);
      this.#say(told?.errors ? Object.values(told.errors).join(" ") : told?.detail ?? "The server did not answer.", true);
      return;
    }
    const picture = /** @type {HTMLImageElement} */ (this.#root.querySelector("img"));
    const old = picture.src;
    picture.src = URL.createObjectURL(await answer.blob());
    if (old) URL.revokeObjectURL(old);
    this.#say("First row: images as they are. Below: as the network would be fed them in three epochs.", false);
  }

  /** @param {string} words @param {boolean} bad */
  #say(words, bad) {
    const caption = /** @type {HTMLElement} */ (this.#root.querySelector("[data-augmented-words]"));
    caption.textContent = words;
    caption.className = bad ? "bad" : "";
    /** @type {HTMLElement} */ (this.#root.querySelector("img")).hidden = bad;
  }
}
