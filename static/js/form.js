// The new-run form: presets, fields that follow a choice, and the network that the settings would train.

import { Augmented } from "./augmented.js";
import { Network } from "./network.js";

const { presets, defaults, datasets } = JSON.parse(document.getElementById("form-data")?.textContent ?? "{}");
const form = /** @type {HTMLFormElement} */ (document.querySelector("form.form"));
const button = /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]"));
const network = new Network(/** @type {HTMLElement} */ (form.querySelector("[data-network]")), form);
const augmented = new Augmented(/** @type {HTMLElement} */ (form.querySelector("[data-augmented]")), form);

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */
/** @param {string} name */
const control = (name) => /** @type {Control | null} */ (form.elements.namedItem(name));

/** Show the fields that mean something beside the others; a hidden one is not sent. */
function follow() {
  for (const field of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-applies]"))) {
    const [name, values] = (field.dataset.applies ?? "").split("=");
    const applies = values.split(" ").includes((control(name)?.value ?? "").split(":")[0]);
    const own = /** @type {Control} */ (field.querySelector("input, select"));
    field.hidden = !applies;
    own.disabled = !applies;
  }
  for (const group of form.querySelectorAll("[data-group]")) count(group);
}

/** How many of a group's settings are not as they come. @param {Element} group */
function count(group) {
  const controls = /** @type {NodeListOf<Control>} */ (group.querySelectorAll("input, select"));
  const changed = [...controls].filter((item) => !item.disabled && item.value !== defaults[item.name]).length;
  const shown = /** @type {HTMLElement} */ (group.querySelector("[data-changed]"));
  shown.hidden = changed === 0;
  /** @type {HTMLElement} */ (shown.firstElementChild).textContent = String(changed);
}

/** What is chosen apart from presets: which images, and where they are trained on. */
const APART = ["device", "dataset", "csv_shape", "image_size"];

/** Fill in a preset without losing name, tags, notes, data set and device. @param {string} name */
function choose(name) {
  const { changes } = presets.find((/** @type {any} */ preset) => preset.name === name);
  for (const [setting, value] of Object.entries({ ...defaults, ...changes })) {
    const item = control(setting);
    if (item && !APART.includes(setting)) item.value = value === null ? "" : String(value);
  }
  for (const group of /** @type {NodeListOf<HTMLDetailsElement>} */ (form.querySelectorAll("details[data-group]"))) {
    count(group);
    if (!(/** @type {HTMLElement} */ (group.querySelector("[data-changed]")).hidden)) group.open = true;
  }
  mark(name);
  follow();
  network.refresh();
  augmented.refresh();
}

/** @param {string | null} name the preset that the form holds; null once it was changed */
function mark(name) {
  for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-preset]"))) {
    if (link.dataset.preset === name) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("[data-preset]"))) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.replaceState(null, "", link.href);
    choose(link.dataset.preset ?? "");
  });
}
let dataset = control("dataset")?.value ?? "";

/** Say what the chosen data set is, and take its own image size unless another was asked for. */
function describe() {
  const chosen = control("dataset")?.value ?? "";
  const size = control("image_size");
  const own = (/** @type {string} */ id) => String(datasets[id]?.image_size ?? defaults.image_size);
  if (size && chosen !== dataset && [own(dataset), defaults.image_size].includes(size.value)) size.value = own(chosen);
  dataset = chosen;
  /** @type {HTMLElement} */ (form.querySelector("[data-dataset-facts]")).textContent = datasets[chosen]?.facts ?? "It is not here any more.";
}

form.addEventListener("input", (event) => {
  const { name } = /** @type {Control} */ (event.target);
  if (name === "dataset") describe();
  if (name in defaults && !APART.includes(name)) mark(null);
  follow();
  network.refresh();
  augmented.refresh();
});
form.addEventListener("submit", () => {
  button.disabled = true;
  button.textContent = "Starting …";
});
// The browser may show this page again from its memory, as it was left.
addEventListener("pageshow", () => {
  button.disabled = false;
  button.textContent = "Start run";
  describe();
  follow();
  network.refresh();
  augmented.refresh();
});
document.getElementById("errors")?.focus();
