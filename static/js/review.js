// The preview of an upload: follows the reading, and reads anew as soon as a correction is made.

const EVERY_MS = 300;
/** @type {Map<string, string>} what was typed of name and card: their form is not there while it is read anew */
const typed = new Map();

follow();
listen();

/** Ask how far it is until it is over; then show the page as it is now, without leaving it. */
async function follow() {
  const shown = review();
  if (["ready", "failed"].includes(shown.dataset.stage ?? "")) return;
  const answer = await fetch(shown.dataset.statusUrl ?? "", { cache: "no-store" }).catch(() => null);
  if (answer?.status === 404) return location.assign("/datasets/new");
  const told = answer?.ok ? (await answer.json()).reading : null;
  if (told && told.stage !== review().dataset.stage) await show(await fetch(location.pathname, { cache: "no-store" }));
  else if (told?.total) meter(told.done / told.total);
  setTimeout(follow, EVERY_MS);
}

/** Any change in how it is read is sent at once; words that are being typed, when the field is left. */
function listen() {
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  main.addEventListener("change", (event) => {
    const form = /** @type {HTMLElement} */ (event.target).closest("form[data-corrections]");
    if (form) void send(/** @type {HTMLFormElement} */ (form), null);
  });
  main.addEventListener("submit", (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.matches("[data-corrections]")) {
      event.preventDefault();
      void send(form, /** @type {SubmitEvent} */ (event).submitter);
    } else if (form.matches("[data-keep]")) {
      // A second click would ask for an upload that the first has made a data set of.
      /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]")).disabled = true;
    }
  });
}

/** @param {HTMLFormElement} form @param {HTMLElement | null} button */
async function send(form, button) {
  const values = new URLSearchParams(/** @type {any} */ (new FormData(form, button)));
  const answer = await fetch(form.action, { method: "POST", body: values }).catch(() => null);
  if (!answer) return;
  const idle = ["ready", "failed"].includes(review().dataset.stage ?? "");
  await show(answer);
  if (idle) void follow();
}

/** Put the server's page in place of this one's part; focus and what was typed of the card stay. @param {Response} answer */
async function show(answer) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("review");
  if (!fresh) return location.assign(answer.url);
  const focused = document.activeElement?.id;
  for (const field of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[data-keep] [name]"))) typed.set(field.id, field.value);
  review().replaceWith(document.adoptNode(fresh));
  for (const [id, value] of typed) {
    const field = /** @type {HTMLInputElement | null} */ (document.getElementById(id));
    if (field?.closest("[data-keep]")) field.value = value;
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  const said = /** @type {HTMLElement} */ (document.querySelector("[data-said]"));
  said.textContent = review().querySelector("h1")?.textContent ?? "";
}

/** @param {number} share */
function meter(share) {
  const progress = /** @type {HTMLProgressElement | null} */ (document.querySelector("[data-progress]"));
  if (progress) progress.value = share;
}

/** @returns {HTMLElement} */
function review() {
  return /** @type {HTMLElement} */ (document.getElementById("review"));
}
