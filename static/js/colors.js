// The page's colours as the browser resolves them, for what is drawn by script.

/** @type {Map<string, string>} resolved once a theme: asking costs a layout, and charts are drawn while a CPU trains */
const resolved = new Map();
document.addEventListener("fitroom:theme", () => resolved.clear());

/** A token's colour, light or dark. @param {string} token */
export function color(token) {
  const known = resolved.get(token) ?? resolve(token);
  resolved.set(token, known);
  return known;
}

/** @param {string} token */
function resolve(token) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${token})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
