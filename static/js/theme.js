// Loaded before the first paint, so that the chosen theme never flashes: therefore a classic script.
(() => {
  document.documentElement.classList.add("scripted"); // what only works with JavaScript is then shown
  const names = ["system", "light", "dark"];
  const stored = () => (names.includes(localStorage.theme) ? localStorage.theme : "system");
  const apply = () => {
    const name = stored();
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    for (const label of document.querySelectorAll("[data-theme-name]")) label.textContent = name;
    document.dispatchEvent(new Event("fitroom:theme"));
  };
  apply();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        localStorage.theme = names[(names.indexOf(stored()) + 1) % names.length];
        apply();
      });
    }
    apply();
  });
})();
