// Parts of the page that the server makes anew.

import { patient } from "../patient.js";

/**
 * Put what the address answers, or the part of it that the selector names, into an element.
 * @param {string} url @param {HTMLElement} element @param {string} [selector]
 */
export async function replaceFrom(url, element, selector) {
  element.setAttribute("aria-busy", "true");
  const answer = await patient(url);
  element.removeAttribute("aria-busy");
  if (!answer.ok) return;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  const part = selector ? template.content.querySelector(selector) : template.content;
  if (part) element.replaceChildren(part);
}
