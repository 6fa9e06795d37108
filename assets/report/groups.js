// Groups of completions as the browser of rollouts filters and orders them.
// Not here: how they are shown (`rollouts.js`); what is recorded of them (`src/report/rollouts.rs`).

const OUTCOMES = [
  ["any", "all completions"],
  ["wrong", "with a wrong answer"],
  ["right", "with a right answer"],
  ["mixed", "with right and wrong answers"],
];
const ORDERS = [
  ["time", "as they came"],
  ["improved", "most improved question first"],
  ["low", "lowest reward first"],
  ["high", "highest reward first"],
];

/** Adds to a source what filters and orders need of each group and each question. */
function prepared(source, place) {
  const n = source.prompt.length;
  const starts = new Uint32Array(n + 1);
  source.sizes.forEach((size, group) => {
    starts[group + 1] = starts[group] + size;
  });
  const mean = new Float64Array(n);
  const right = new Uint32Array(n);
  const times = source.prompts.map(() => []);
  for (let group = 0; group < n; group++) {
    let sum = 0;
    for (let one = starts[group]; one < starts[group + 1]; one++) {
      sum += source.reward[one];
      if (source.accuracy[one] >= 1) right[group]++;
    }
    mean[group] = sum / Math.max(1, source.sizes[group]);
    times[source.prompt[group]].push(group);
  }
  const gain = times.map((groups) => (groups.length < 2 ? null : mean[groups.at(-1)] - mean[groups[0]]));
  return { ...source, place, starts, mean, right, times, gain };
}

/** Groups that a choice of filters leaves, in its order. */
function chosen(source, filters) {
  const text = filters.text.toLowerCase();
  const hits = text && source.prompts.map(({ id, problem }) => `${id}\n${problem}`.toLowerCase().includes(text));
  const matches = (group) => {
    if (source.moment[group] < filters.from || source.moment[group] > filters.to) return false;
    if (filters.silent && !source.silent[group]) return false;
    if (hits && !hits[source.prompt[group]]) return false;
    if (filters.outcome === "mixed" && (source.right[group] === 0 || source.right[group] === source.sizes[group]))
      return false;
    for (let one = source.starts[group]; one < source.starts[group + 1]; one++) {
      const isRight = source.accuracy[one] >= 1;
      if (
        source.reward[one] >= filters.low &&
        source.reward[one] <= filters.high &&
        (!filters.cut || source.cut[one]) &&
        !(filters.outcome === "wrong" && isRight) &&
        !(filters.outcome === "right" && !isRight)
      )
        return true;
    }
    return false;
  };
  const groups = [];
  for (let group = 0; group < source.prompt.length; group++) if (matches(group)) groups.push(group);
  const by = (key) => groups.sort((a, b) => key(a) - key(b) || a - b);
  if (filters.order === "low") by((group) => source.mean[group]);
  if (filters.order === "high") by((group) => -source.mean[group]);
  if (filters.order !== "improved") return groups;
  const last = groups.filter(
    (group) => source.gain[source.prompt[group]] !== null && source.times[source.prompt[group]].at(-1) === group,
  );
  return last.sort((a, b) => source.gain[source.prompt[b]] - source.gain[source.prompt[a]] || a - b);
}

/** The name of a moment: an update, or an evaluation. */
function momentName(source, group) {
  const moment = source.moment[group];
  return source.moments ? source.moments[moment] : `update ${moment}`;
}

function signed(number) {
  return `${number >= 0 ? "+" : "−"}${Number(Math.abs(number).toPrecision(3))}`;
}
