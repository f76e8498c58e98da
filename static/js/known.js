// The well-known sets: while one is being fetched, its line is kept as the server has it.

const EVERY_MS = 700;

/** @returns {HTMLElement | null} */
const list = () => document.querySelector("[data-known]");

async function follow() {
  if (list()?.dataset.busy !== "yes") return;
  const answer = await fetch("/datasets/new", { cache: "no-store" }).catch(() => null);
  const fresh = answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-known]") : null;
  if (fresh) list()?.replaceWith(document.adoptNode(fresh));
  setTimeout(follow, EVERY_MS);
}

void follow();
