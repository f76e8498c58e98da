// The slider that looks back: which epoch's predictions the page shows. It follows the newest until it is moved.

export class EpochChoice {
  #root;
  #slider;
  #follow;
  #newest;
  #following;
  #onChoose;

  /**
   * @param {HTMLElement} root @param {number} newest
   * @param {(epoch: number) => void} onChoose called when another epoch is to be shown
   */
  constructor(root, newest, onChoose) {
    this.#root = root;
    this.#slider = /** @type {HTMLInputElement} */ (root.querySelector("input"));
    this.#follow = /** @type {HTMLButtonElement} */ (root.querySelector("[data-epoch-follow]"));
    this.#newest = newest;
    this.#following = this.#follow.getAttribute("aria-pressed") === "true";
    this.#onChoose = onChoose;
    this.#follow.hidden = false;
    this.#slider.addEventListener("input", () => this.#choose(Number(this.#slider.value), false));
    this.#follow.addEventListener("click", () => this.#choose(this.#newest, true));
    root.addEventListener("submit", (event) => event.preventDefault());
  }

  /** The epoch whose predictions are shown. */
  get epoch() {
    return this.#following ? this.#newest : Number(this.#slider.value);
  }

  /** There is a newer epoch. @param {number} newest */
  arrived(newest) {
    this.#newest = newest;
    this.#root.hidden = false;
    this.#slider.max = String(newest);
    if (this.#following) {
      this.#slider.value = String(newest);
      this.#onChoose(newest);
    }
    this.#show();
  }

  /** @param {number} epoch @param {boolean} following */
  #choose(epoch, following) {
    this.#following = following;
    this.#slider.value = String(epoch);
    const address = new URL(location.href);
    if (following) address.searchParams.delete("epoch");
    else address.searchParams.set("epoch", String(epoch));
    history.replaceState(null, "", address);
    this.#show();
    this.#onChoose(epoch);
  }

  #show() {
    this.#text("[data-epoch-shown]", String(this.epoch));
    this.#text("[data-epoch-newest]", String(this.#newest));
    this.#follow.setAttribute("aria-pressed", String(this.#following));
  }

  /** @param {string} selector @param {string} text */
  #text(selector, text) {
    /** @type {HTMLElement} */ (this.#root.querySelector(selector)).textContent = text;
  }
}

/**
 * One answer at a time: while one is on its way, only the newest wish is kept. A dragged slider makes many wishes.
 * @param {(wish: number) => Promise<void>} ask
 */
export function latest(ask) {
  /** @type {number | null} */
  let waiting = null;
  let busy = false;
  return async (/** @type {number} */ wish) => {
    waiting = wish;
    if (busy) return;
    busy = true;
    try {
      while (waiting !== null) {
        const next = waiting;
        waiting = null;
        await ask(next);
      }
    } finally {
      busy = false;
    }
  };
}
