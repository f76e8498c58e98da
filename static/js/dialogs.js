// A link to a confirmation page opens a dialog instead, where there is JavaScript.

export function openDialogs() {
  for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-dialog]"))) {
    const dialog = /** @type {HTMLDialogElement | null} */ (document.getElementById(link.dataset.dialog ?? ""));
    if (!dialog) continue;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      dialog.showModal();
    });
    for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }
}
