// The browser of rollouts: filters, a list of groups, and one group with its picture and completions side by side.
// Not here: which groups the filters leave (`groups.js`); unpacking (`data.js`).

/** Groups on one page of the list. */
const PAGE = 40;
/** Times at which a question was asked that are offered as buttons. */
const MAX_TIMES = 12;

/** A completion with its rewards by component and what was read as its answer. */
function completionCard(source, group, completion, idx) {
  const at = source.starts[group] + idx;
  const isRight = source.accuracy[at] >= 1;
  const chip = (name, value, kind = "") => element("span", { class: `chip ${kind}` }, `${name} ${value}`);
  const answer = completion.answer === null ? "no answer was found" : completion.answer;
  return element(
    "article",
    { class: `completion ${isRight ? "is-right" : "is-wrong"}`, "aria-label": `Completion ${idx + 1}` },
    element(
      "p",
      { class: "verdict" },
      element("span", { class: "sign" }, isRight ? "✓ right" : "✗ wrong"),
      element("span", { class: "answer" }, answer),
    ),
    element(
      "p",
      { class: "text", tabindex: "0", role: "group", "aria-label": "Text of the completion" },
      completion.text === "" ? "(empty)" : completion.text,
    ),
    element(
      "p",
      { class: "chips" },
      chip("reward", digits(source.reward[at])),
      chip("accuracy", digits(source.accuracy[at])),
      chip("format", digits(completion.format)),
      ...Object.entries(completion.components ?? {}).map(([name, value]) => chip(name, digits(value))),
      ...(completion.advantage === undefined ? [] : [chip("advantage", signed(completion.advantage))]),
      chip("", count(completion.n_tokens, "token")),
      ...(source.cut[at] ? [chip("", "cut off", "bad")] : []),
    ),
    completion.reason ? element("p", { class: "note" }, completion.reason) : null,
  );
}

/** A group's heading and completions. */
async function groupPart(source, group, name) {
  const completions = await completionsOf(source, group);
  const silent = source.silent[group] ? ", no signal: all rewards are equal" : "";
  return element(
    "section",
    { class: "moment" },
    element(
      "h4",
      {},
      name,
      element(
        "span",
        { class: "note" },
        ` ${source.right[group]} of ${source.sizes[group]} right, mean reward ${digits(source.mean[group])}${silent}`,
      ),
    ),
    element(
      "div",
      { class: "completions" },
      ...completions.map((completion, idx) => completionCard(source, group, completion, idx)),
    ),
  );
}

/** Makes the browser inside an element; `show` gives it an index, again when there is more. */
function rolloutBrowser(home) {
  const filters = {
    from: -Infinity,
    to: Infinity,
    low: -Infinity,
    high: Infinity,
    outcome: "any",
    cut: false,
    silent: false,
    text: "",
    order: "time",
  };
  let [sources, source, groups, at, other, turn] = [[], null, [], 0, null, 0];
  const list = element("ul", {
    class: "groups",
    role: "listbox",
    tabindex: "0",
    "aria-label": "Groups of completions",
    id: "groups",
  });
  const found = element("p", { class: "note", role: "status", id: "found" });
  const pager = element("div", { class: "pager" });
  const detail = element("div", {
    class: "detail",
    tabindex: "0",
    role: "region",
    "aria-label": "The chosen group",
    id: "detail",
  });
  const controls = element("form", { class: "filters", "aria-label": "Filters" });
  controls.addEventListener("submit", (event) => event.preventDefault());

  const chooser = (name, choices, react) =>
    element(
      "label",
      {},
      name,
      element(
        "select",
        { id: `by-${name}`, on: { change: (event) => react(event.target.value) } },
        ...choices.map(([value, text]) => element("option", { value }, text)),
      ),
    );
  const bound = (name, key, missing) =>
    element("input", {
      type: "number",
      step: "any",
      id: key,
      "aria-label": name,
      placeholder: name.split(" ")[0],
      on: { input: (event) => set(key, event.target.value === "" ? missing : Number(event.target.value)) },
    });
  const check = (name, key) =>
    element(
      "label",
      { class: "check" },
      element("input", { type: "checkbox", id: key, on: { change: (event) => set(key, event.target.checked) } }),
      name,
    );

  function set(key, value) {
    filters[key] = value;
    filter(0);
  }

  function filter(place) {
    groups = chosen(source, filters);
    showFound();
    choose(place);
  }

  function showFound() {
    const n = groups.reduce((sum, group) => sum + source.sizes[group], 0);
    const text = `${count(groups.length, "group")} with ${count(n, "completion")}`;
    found.textContent = groups.length === 0 ? "No group matches these filters." : text;
  }

  /** Chooses the group at a place of the filtered list. */
  function choose(place) {
    at = Math.max(0, Math.min(place, groups.length - 1));
    other = null;
    showList();
    showDetail();
  }

  function showList() {
    const first = Math.floor(at / PAGE) * PAGE;
    list.replaceChildren(...groups.slice(first, first + PAGE).map((group, idx) => row(group, first + idx)));
    const chosenRow = list.children[at - first];
    if (chosenRow) {
      list.setAttribute("aria-activedescendant", chosenRow.id);
      const [top, bottom] = [chosenRow.offsetTop, chosenRow.offsetTop + chosenRow.offsetHeight];
      if (top < list.scrollTop) list.scrollTop = top;
      if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
    } else {
      list.removeAttribute("aria-activedescendant");
    }
    const turnTo = (name, to, isOff) =>
      element("button", { type: "button", disabled: isOff, on: { click: () => choose(to) } }, name);
    const pages = Math.ceil(groups.length / PAGE);
    pager.replaceChildren(
      ...(pages < 2
        ? []
        : [
            turnTo("Previous", first - PAGE, first === 0),
            element("span", { class: "note" }, `page ${first / PAGE + 1} of ${pages}`),
            turnTo("Next", first + PAGE, first + PAGE >= groups.length),
          ]),
    );
  }

  function row(group, place) {
    const prompt = source.prompts[source.prompt[group]];
    const accuracies = source.accuracy.slice(source.starts[group], source.starts[group + 1]).slice(0, 16);
    const marks = accuracies.map((accuracy) => element("i", { class: accuracy >= 1 ? "dot is-right" : "dot" }));
    const gain = filters.order === "improved" ? `, reward ${signed(source.gain[source.prompt[group]])}` : "";
    return element(
      "li",
      {
        role: "option",
        id: `group-${group}`,
        "aria-selected": place === at ? "true" : "false",
        on: { click: () => choose(place) },
      },
      element(
        "span",
        { class: "line" },
        element("b", {}, momentName(source, group)),
        element("span", { class: "dots", "aria-hidden": "true" }, ...marks),
        element("span", { class: "score" }, `${source.right[group]}/${source.sizes[group]} right${gain}`),
      ),
      element("span", { class: "question" }, prompt.problem),
    );
  }

  async function showDetail() {
    const mine = ++turn;
    if (groups.length === 0) return detail.replaceChildren();
    const group = groups[at];
    const question = source.prompt[group];
    const times = source.times[question];
    // Beside the group: the question's first time, or its last one where this is the first.
    const beside = other ?? (times[0] === group ? times.at(-1) : times[0]);
    try {
      const parts = [await groupPart(source, group, momentName(source, group))];
      if (beside !== group)
        parts.push(await groupPart(source, beside, `The same question, ${momentName(source, beside)}`));
      if (beside < group) parts.reverse();
      if (mine !== turn) return;
      detail.replaceChildren(questionPart(question, group), timesPart(times, group, beside), ...parts);
    } catch (problem) {
      if (mine === turn)
        detail.replaceChildren(
          element("p", { class: "problem" }, `These completions cannot be shown: ${problem.message}`),
        );
    }
  }

  function questionPart(question, group) {
    const { id, problem, solution } = source.prompts[question];
    const place = source.pictures[question];
    const address = place === null ? null : data.picture(place);
    const missing = () => element("p", { class: "note" }, source.picture_note);
    const picture =
      address === null
        ? missing()
        : element("img", {
            src: address,
            alt: `Picture of the question ${id}`,
            on: { error: (event) => event.target.replaceWith(missing()) },
          });
    return element(
      "div",
      { class: "ask" },
      picture,
      element(
        "div",
        {},
        element("p", { class: "note" }, `${momentName(source, group)} · ${id}`),
        element("p", { class: "problem-text text" }, problem),
        element("p", {}, "Right answer: ", element("b", { class: "text" }, solution)),
      ),
    );
  }

  function timesPart(times, group, beside) {
    if (times.length < 2) return element("p", { class: "note" }, "This question was asked once.");
    const step = Math.max(1, (times.length - 1) / (MAX_TIMES - 1));
    const some = [
      ...new Set(Array.from({ length: Math.min(times.length, MAX_TIMES) }, (_, idx) => times[Math.round(idx * step)])),
    ];
    return element(
      "p",
      { class: "times" },
      element("span", { class: "note" }, `Asked ${times.length} times; compare with`),
      ...some
        .filter((time) => time !== group)
        .map((time) =>
          element(
            "button",
            {
              type: "button",
              "aria-pressed": time === beside ? "true" : "false",
              on: {
                click: () => {
                  other = time;
                  showDetail();
                },
              },
            },
            `${momentName(source, time)}: ${source.right[time]}/${source.sizes[time]}`,
          ),
        ),
    );
  }

  /** Keys of the list; left and right work beside it as well. */
  function keys(event) {
    const isList = event.currentTarget === list;
    const steps = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ...(isList ? { ArrowDown: 1, ArrowUp: -1, PageDown: PAGE, PageUp: -PAGE, Home: -Infinity, End: Infinity } : {}),
    };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey || groups.length === 0) return;
    event.preventDefault();
    choose(at + step);
  }
  list.addEventListener("keydown", keys);
  detail.addEventListener("keydown", keys);

  function showControls() {
    controls.replaceChildren(
      ...(sources.length > 1
        ? [
            chooser(
              "run",
              sources.map(({ label }, idx) => [idx, label]),
              (idx) => {
                source = sources[idx];
                filter(0);
              },
            ),
          ]
        : []),
      chooser("order", ORDERS, (order) => set("order", order)),
      chooser("show", OUTCOMES, (outcome) => set("outcome", outcome)),
      element(
        "fieldset",
        {},
        element("legend", {}, "updates"),
        bound("from this update", "from", -Infinity),
        bound("to this update", "to", Infinity),
      ),
      element(
        "fieldset",
        {},
        element("legend", {}, "reward"),
        bound("from this reward", "low", -Infinity),
        bound("to this reward", "high", Infinity),
      ),
      element(
        "label",
        {},
        "question",
        element("input", {
          type: "search",
          id: "text",
          placeholder: "text or row",
          on: { input: (event) => set("text", event.target.value) },
        }),
      ),
      element("div", { class: "checks" }, check("cut off", "cut"), check("no signal", "silent")),
    );
  }

  return {
    show(index) {
      const names = sources.map(({ label }) => label).join();
      const before = source && { place: source.place, group: groups[at] };
      sources = index.sources.map(prepared);
      if (sources.every(({ prompt }) => prompt.length === 0)) {
        return home.replaceChildren(element("p", { class: "note" }, "No completions are recorded."));
      }
      source = sources[before?.place] ?? sources.find(({ prompt }) => prompt.length > 0);
      if (!home.contains(controls) || names !== sources.map(({ label }) => label).join()) {
        showControls();
        home.replaceChildren(
          ...sources.filter((one) => one.left_out).map((one) => element("p", { class: "remark" }, one.left_out)),
          controls,
          element("div", { class: "browser" }, element("div", { class: "side" }, found, list, pager), detail),
        );
      }
      if (!before) return filter(0);
      // The same group stays chosen, and its completions as they are, while others are added.
      groups = chosen(source, filters);
      const place = groups.indexOf(before.group);
      if (place < 0) return filter(at);
      showFound();
      at = place;
      showList();
    },
  };
}
