// The page on which files are chosen: sends them in pieces, shows how far it is, and goes on after a lost connection.

import { fileSize } from "./format.js";
import { Meter } from "./meter.js";
import { announce, Refused, send } from "./sending.js";

/** @typedef {import("./sending.js").Upload} Upload */

const root = document.getElementById("bring");
if (root) start(root);

/** @param {HTMLElement} root */
function start(root) {
  const form = /** @type {HTMLFormElement} */ (root.querySelector("[data-upload]"));
  const input = /** @type {HTMLInputElement} */ (form.querySelector("#files"));
  const name = /** @type {HTMLInputElement} */ (form.querySelector("#field-name"));
  const drop = find("[data-drop]");
  /** @type {Upload[]} */
  const unfinished = JSON.parse(document.getElementById("unfinished")?.textContent ?? "[]");
  /** @type {{upload: Upload, files: File[]} | null} */
  let held = null;
  let stop = new AbortController();
  const meter = new Meter(root);

  find("[data-drop-words]").hidden = false;
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!event.dataTransfer?.files.length) return;
    input.files = event.dataTransfer.files;
    chosen();
  });
  input.addEventListener("change", chosen);

  function chosen() {
    complain("");
    const files = [...(input.files ?? [])];
    const list = find("[data-chosen]");
    list.replaceChildren(...files.map((file) => line(file)));
    list.hidden = files.length === 0;
    const known = earlier(files);
    find("[type=submit]").textContent = known ? "Go on uploading" : "Upload";
  }

  /** The upload of the same files that was not finished. @param {File[]} files */
  function earlier(files) {
    const key = (/** @type {{name?: string, filename?: string, size: number}} */ item) => `${item.size} ${item.name ?? item.filename}`;
    const wanted = files.map(key).sort().join("\n");
    return unfinished.find((upload) => upload.files.map(key).sort().join("\n") === wanted);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void begin([...(input.files ?? [])]);
  });

  /** @param {File[]} files */
  async function begin(files) {
    if (files.length === 0) return complain("Choose a file first.");
    complain("");
    form.hidden = true;
    meter.begin(files);
    try {
      held = { upload: earlier(files) ?? (await announce(files, name.value)), files };
      await goOn();
    } catch (error) {
      fail(error);
    }
  }

  async function goOn() {
    if (!held) return;
    const { upload, files } = held;
    stop = new AbortController();
    const left = [...files];
    for (const [place, told] of upload.files.entries()) {
      const file = left.splice(left.findIndex((item) => item.name === told.filename && item.size === told.size), 1)[0] ?? files[place];
      await send(told.url, file, meter.of(place), stop.signal);
    }
    meter.say("All of it is here.");
    location.assign(`/datasets/uploads/${upload.id}`);
  }

  /** @param {unknown} error */
  function fail(error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    form.hidden = false;
    find("[data-sending]").hidden = true;
    complain(error.message);
    input.focus();
  }

  find("[data-pause]").addEventListener("click", () => {
    if (meter.paused) {
      meter.go();
      goOn().catch(fail);
    } else {
      stop.abort();
      meter.pause();
    }
  });
  find("[data-discard]").addEventListener("click", async () => {
    stop.abort();
    if (held) await fetch(`/api/v1/uploads/${held.upload.id}`, { method: "DELETE" }).catch(() => null);
    location.reload();
  });

  /** @param {string} words */
  function complain(words) {
    const place = find("[data-error]");
    place.textContent = words;
    place.hidden = !words;
    if (words) {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", "help-files error-files");
    } else input.removeAttribute("aria-invalid");
  }

  /** @param {string} selector @returns {HTMLElement} */
  function find(selector) {
    return /** @type {HTMLElement} */ (/** @type {HTMLElement} */ (root).querySelector(selector));
  }
}

/** @param {File} file */
function line(file) {
  const item = document.createElement("li");
  item.appendChild(document.createElement("bdi")).textContent = file.name;
  item.appendChild(document.createElement("span")).textContent = ` ${fileSize(file.size)}`;
  return item;
}
