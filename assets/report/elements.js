// Elements of the page: made of text, never of HTML, so that what a model wrote stays text.
// Not here: what is shown (`page.js`, `charts.js`, `rollouts.js`).

/**
 * Makes an element. Properties are attributes, but for `on`, which maps events to functions; `null` and `false` leave
 * an attribute out. Children are elements or text.
 */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, react] of Object.entries(value)) made.addEventListener(event, react);
    } else if (value !== null && value !== false && value !== undefined) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The element of the page with an identifier. */
function here(id) {
  return document.getElementById(id);
}

/** A number with at most four significant digits. */
function digits(number) {
  if (number === null || number === undefined) return "none";
  if (typeof number !== "number") return String(number);
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return number.toExponential(2);
  return String(Number(number.toPrecision(4)));
}

/** `1 group`, `2 groups`, `12,500 groups`. */
function count(n, noun) {
  return `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
}
