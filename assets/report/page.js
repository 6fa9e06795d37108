// The page: cards, tables, health, and how all of it begins and is brought up to date.
// Not here: charts (`charts.js`), the browser of rollouts (`rollouts.js`), where data comes from (`data.js`).

function cardOf(card) {
  const pairs = (rows) =>
    element(
      "dl",
      {},
      ...rows.flatMap(([name, ...values]) => [
        element("dt", {}, name),
        ...values.map((value) => element("dd", {}, value)),
      ]),
    );
  const folded = (name, rows) =>
    rows.length === 0
      ? null
      : element(
          "details",
          { "data-of": `${card.label}/${name}` },
          element("summary", {}, `${name} (${rows.length})`),
          pairs(rows),
        );
  return element(
    "article",
    { class: "card", "aria-label": card.label },
    element("h2", {}, card.label),
    element("p", { class: "note" }, card.about),
    element(
      "div",
      { class: "figures" },
      ...card.figures.map((figure) =>
        element(
          "div",
          { class: figure.is_main ? "figure main" : "figure" },
          element("p", { class: "name" }, figure.name),
          element("p", { class: "value" }, figure.value),
          element("p", { class: "note" }, figure.note),
        ),
      ),
    ),
    folded("Settings that differ from the default", card.settings),
    folded("Where it comes from", card.provenance),
  );
}

function tableOf(table) {
  if (table.rows.length === 0) return element("p", { class: "note" }, `${table.caption}: none recorded.`);
  const row = ([name, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, cell)));
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": table.caption, "data-of": table.caption },
    element(
      "table",
      {},
      element("caption", {}, table.caption),
      element("thead", {}, element("tr", {}, ...table.columns.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...table.rows.map(row)),
    ),
  );
}

function healthOf({ label, n_updates: n, notes }) {
  if (notes.length === 0) {
    return element("p", { class: "note" }, `No warnings in the ${count(n, "update")} of ${label}.`);
  }
  return element(
    "div",
    {},
    element("h3", {}, label),
    element(
      "ul",
      {},
      ...notes.map((note) =>
        element("li", {}, `After update ${note.update}: `, element("span", { class: "text" }, note.text)),
      ),
    ),
  );
}

/** Puts elements in the place of what is there; what was unfolded, scrolled or focused stays so. */
function replace(id, elements) {
  const place = here(id);
  const kept = new Map(
    [...place.querySelectorAll("[data-of]")].map((one) => [
      one.dataset.of,
      {
        open: one.open,
        scrolled: one.scrollLeft,
        isFocused: one.contains(document.activeElement),
      },
    ]),
  );
  place.replaceChildren(...elements);
  for (const one of place.querySelectorAll("[data-of]")) {
    const before = kept.get(one.dataset.of);
    if (before === undefined) continue;
    if (before.open) one.open = true;
    one.scrollLeft = before.scrolled;
    if (before.isFocused) (one.querySelector("summary") ?? one).focus();
  }
}

function showSummary(summary) {
  document.title = summary.title;
  here("title").textContent = summary.title;
  replace("summary", [
    ...summary.notes.map((note) => element("p", { class: "remark" }, note)),
    element("div", { class: "cards" }, ...summary.cards.map(cardOf)),
  ]);
  replace("tables-here", summary.tables.map(tableOf));
  replace("health-here", summary.health.map(healthOf));
  showCharts(summary);
}

function showProblem(text) {
  const problem = here("problem");
  problem.hidden = text === null;
  if (problem.textContent !== text) problem.textContent = text;
}

async function begin() {
  try {
    const summary = await data.summary();
    showSummary(summary);
    const browser = rolloutBrowser(here("rollouts-here"));
    browser.show(await data.index());
    document.documentElement.dataset.loadedMs = Math.round(performance.now());
    if (!IS_LIVE) return;
    here("state").textContent = "live";
    follow(summary.version, async (changed, problem) => {
      showProblem(problem);
      here("state").textContent = problem === null ? "live" : "not live";
      if (changed === null) return;
      showSummary(changed);
      browser.show(await data.index());
    });
  } catch (problem) {
    showProblem(`The page cannot show its data: ${problem.message}`);
  }
}

begin();
