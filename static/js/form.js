// The new-run form: focus goes to what is wrong; a second click does not start a second run.

document.getElementById("errors")?.focus();

const form = /** @type {HTMLFormElement} */ (document.querySelector("form.form"));
const button = /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]"));
form.addEventListener("submit", () => {
  button.disabled = true;
  button.textContent = "Starting …";
});
// The browser may show this page again from its memory, as it was left.
addEventListener("pageshow", () => {
  button.disabled = false;
  button.textContent = "Start run";
});
