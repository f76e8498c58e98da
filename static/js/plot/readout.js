// What lies under the pointer: all curves' values at one place, sorted, as many of them as there is room for.

const MOST = 16;

/** @typedef {{key: string, label: string, text: string, value: number, color: string, near: boolean}} Line */

export class Readout {
  #box;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#box = element.appendChild(document.createElement("div"));
    this.#box.className = "readout";
    this.#box.hidden = true;
  }

  hide() {
    this.#box.hidden = true;
  }

  /**
   * @param {string} title @param {Line[]} lines one of them may be the nearest to the pointer
   * @param {number} x of the place in the element @param {number} width of the element
   */
  show(title, lines, x, width) {
    lines.sort((a, b) => b.value - a.value);
    const around = Math.max(0, lines.findIndex((line) => line.near));
    const first = Math.max(0, Math.min(around - MOST / 2, lines.length - MOST));
    const shown = lines.slice(first, first + MOST);
    const rows = [heading(title), ...shown.map(row)];
    if (first > 0) rows.splice(1, 0, note(`${first} more above`));
    if (first + MOST < lines.length) rows.push(note(`${lines.length - first - MOST} more below`));
    this.#box.replaceChildren(...rows);
    this.#box.hidden = false;
    const wide = this.#box.offsetWidth;
    const left = x + 16 + wide > width ? Math.max(0, x - 16 - wide) : x + 16;
    this.#box.style.transform = `translate(${Math.round(left)}px, 0)`;
  }
}

/** @param {string} text */
function heading(text) {
  return made("b", text, "readout-title");
}

/** @param {string} text */
function note(text) {
  return made("span", text, "soft");
}

/** @param {Line} line */
function row(line) {
  const element = made("div", "", line.near ? "near" : "");
  const mark = made("i", "", "mark");
  mark.style.background = line.color;
  element.append(mark, made("span", line.label, "label"), made("b", line.text, ""));
  return element;
}

/** @param {string} tag @param {string} text @param {string} name */
function made(tag, text, name) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}
