// Small things around the table: menus that close, selects that apply at once, suggestions in the builder of filters.

export function menus() {
  const open = () => /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details.menu[open]"));
  document.addEventListener("click", (event) => {
    for (const menu of open()) if (!menu.contains(/** @type {Node} */ (event.target))) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of open()) {
      menu.open = false;
      /** @type {HTMLElement} */ (menu.querySelector("summary")).focus();
    }
  });
  for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("[data-submit-on-change]"))) {
    form.addEventListener("change", () => form.requestSubmit());
  }
  suggest();
}

/** Offer the words of the chosen column, where it has only so many. */
function suggest() {
  const column = /** @type {HTMLSelectElement | null} */ (document.getElementById("builder-column"));
  const list = /** @type {HTMLDataListElement} */ (document.getElementById("builder-values"));
  if (!column) return;
  const offer = () => {
    const words = column.selectedOptions[0].dataset.choices?.split(" ") ?? [];
    list.replaceChildren(...words.map((word) => new Option(word, word)));
  };
  column.addEventListener("change", offer);
  offer();
}
