// Charts over updates: values under the pointer, zoom by dragging or by keys, one colour for each configuration.
// Not here: which figures are shown (`src/report/curves.rs`); drawing (uPlot).

const CHART_HEIGHT = 240;
/** Fraction of the values' span that is left free at either end of the vertical axis. */
const MARGIN = 0.06;
const N_COLORS = 7;
const DASHES = [[], [9, 4], [2, 3], [14, 3]];
/** Charts on the page by name, each with what it shows. */
const shownCharts = new Map();

/** A colour of the style sheet, which follows the light or dark scheme. */
function color(name, opacity = 1) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const alpha = Math.round(255 * opacity).toString(16);
  return value + alpha.padStart(2, "0");
}

/** Ends of an axis that holds the values; it goes below 0 only where a value does. */
function axisRange(low, high) {
  if (low === null || high === null || !Number.isFinite(low + high)) return [0, 1];
  const span = high > low ? high - low : Math.abs(high) || 1;
  const least = low - MARGIN * span;
  return [low >= 0 ? Math.max(0, least) : least, high + MARGIN * span];
}

/** The figures of all lines over one axis of updates, and how each is drawn. */
function columnsOf(chart) {
  const updates = [...new Set(chart.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const place = new Map(updates.map((update, idx) => [update, idx]));
  const columns = [updates];
  const series = [{ label: "update", value: (plot, x) => digits(x ?? plot.data[0].at(-1)) }];
  const bands = [];
  const companions = new Map();
  const add = (line, values, drawn) => {
    const column = new Array(updates.length).fill(null);
    line.x.forEach((x, idx) => {
      column[place.get(x)] = values[idx];
    });
    series.push({ spanGaps: true, points: { show: false }, ...drawn });
    return columns.push(column) - 1;
  };
  for (const line of chart.lines) {
    const ink = `line-${line.color % N_COLORS}`;
    const own = [];
    if (line.raw.length > 0) {
      own.push(add(line, line.raw, { class: "companion", stroke: color(ink, 0.28), width: 1 }));
    }
    if (line.interval.some((interval) => interval !== null)) {
      const end = (which) => line.interval.map((interval) => interval && interval[which]);
      const [low, high] = [0, 1].map((which) => add(line, end(which), { class: "companion", width: 0 }));
      if (!chart.is_points) bands.push({ series: [high, low], fill: color(ink, 0.15) });
      own.push(low, high);
    }
    const dash = DASHES[line.dash % DASHES.length];
    const main = add(line, line.y, {
      label: line.label,
      stroke: color(ink),
      width: 2,
      dash,
      points: { show: chart.is_points || line.x.length === 1, size: 8, fill: color(ink) },
      value: (plot, y, _, idx) => valueText(line, idx === null ? line.x.at(-1) : plot.data[0][idx]),
    });
    companions.set(main, own);
  }
  return { columns, series, bands, companions };
}

/** A line's value at an update, with its interval. */
function valueText(line, update) {
  const idx = line.x.indexOf(update);
  if (idx < 0) return "";
  const interval = line.interval[idx];
  const within = interval ? ` (${digits(interval[0])} to ${digits(interval[1])})` : "";
  return digits(line.y[idx]) + within;
}

/** Strokes from the lower to the upper end of each interval. */
function drawIntervals(plot, chart) {
  const ratio = devicePixelRatio;
  for (const line of chart.lines) {
    plot.ctx.strokeStyle = color(`line-${line.color % N_COLORS}`);
    plot.ctx.lineWidth = 1.5 * ratio;
    plot.ctx.beginPath();
    line.interval.forEach((interval, idx) => {
      const x = line.x[idx];
      if (interval === null || x < plot.scales.x.min || x > plot.scales.x.max) return;
      const across = plot.valToPos(x, "x", true);
      plot.ctx.moveTo(across, plot.valToPos(interval[0], "y", true));
      plot.ctx.lineTo(across, plot.valToPos(interval[1], "y", true));
    });
    plot.ctx.stroke();
  }
}

function optionsOf(chart, { series, bands, companions }, width) {
  const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line") } };
  const numbers = (plot, splits) => splits.map(digits);
  return {
    width,
    height: CHART_HEIGHT,
    padding: [8, 14, 0, 0],
    series,
    bands,
    scales: { x: { time: false }, y: { range: (plot, low, high) => axisRange(low, high) } },
    axes: [
      {
        ...axis,
        values: numbers,
        size: 36,
        grid: { show: false },
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4],
      },
      { ...axis, values: numbers, size: 58 },
    ],
    cursor: { sync: { key: "updates", scales: ["x", null] }, drag: { x: true, y: false }, focus: { prox: 24 } },
    focus: { alpha: 0.5 },
    hooks: {
      draw: chart.is_points ? [(plot) => drawIntervals(plot, chart)] : [],
      setSeries: [
        (plot, idx, { show }) => {
          if (show !== undefined) companions.get(idx)?.forEach((own) => plot.setSeries(own, { show }));
        },
      ],
    },
  };
}

/** Arrow keys move along the updates, + and - zoom around the place, 0 and Escape show all. */
function keysOf(shown) {
  return (event) => {
    const plot = shown.plot;
    const updates = plot.data[0];
    const at = plot.cursor.idx ?? updates.length - 1;
    const show = (idx) => plot.setCursor({ left: plot.valToPos(updates[idx], "x"), top: plot.over.clientHeight / 2 });
    const { min, max } = plot.scales.x;
    const zoom = (factor) => {
      const from = updates[at] - (updates[at] - min) * factor;
      zoomTo(Math.max(updates[0], from), Math.min(updates.at(-1), from + (max - min) * factor));
    };
    const moves = {
      ArrowLeft: () => show(Math.max(0, at - 1)),
      ArrowRight: () => show(Math.min(updates.length - 1, at + 1)),
      "+": () => zoom(0.5),
      "-": () => zoom(2),
      0: zoomOut,
      Escape: zoomOut,
    };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey || updates.length < 2) return;
    event.preventDefault();
    moves[event.key]();
  };
}

/** Shows the same updates in all charts. */
function zoomTo(min, max) {
  for (const { plot } of shownCharts.values()) plot.setScale("x", { min, max });
}

function zoomOut() {
  for (const { plot } of shownCharts.values()) plot.setScale("x", { min: plot.data[0][0], max: plot.data[0].at(-1) });
}

/** Draws a chart anew, where it is, in the part that was zoomed into. */
function draw(shown) {
  const columns = columnsOf(shown.chart);
  const before = shown.plot && { ...shown.plot.scales.x, ends: [shown.plot.data[0][0], shown.plot.data[0].at(-1)] };
  shown.plot?.destroy();
  const width = Math.max(200, shown.place.clientWidth);
  shown.plot = new uPlot(optionsOf(shown.chart, columns, width), columns.columns, shown.place);
  const isZoomed = before && (before.min > before.ends[0] || before.max < before.ends[1]);
  if (isZoomed) shown.plot.setScale("x", { min: before.min, max: before.max });
}

function figureOf(chart) {
  const place = element("div", { class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart" });
  const shown = { chart, place, plot: null };
  place.addEventListener("keydown", keysOf(shown));
  const figure = element(
    "figure",
    { class: "chart", id: `chart-${chart.name}` },
    element("figcaption", {}, element("h3", {}, chart.title), element("span", { class: "note" }, chart.y_title)),
    place,
  );
  return { shown, figure };
}

/** Shows the charts of a summary: new ones are added, those that are there take the new figures. */
function showCharts(summary) {
  const home = here("charts-here");
  if (!home.querySelector(".charts")) {
    home.replaceChildren(element("p", { class: "note" }, summary.chart_note), element("div", { class: "charts" }));
    new ResizeObserver(() =>
      shownCharts.forEach(({ plot, place }) => {
        if (plot && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: CHART_HEIGHT });
      }),
    ).observe(home);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shownCharts.forEach(draw));
  }
  for (const chart of summary.charts) {
    if (!shownCharts.has(chart.name)) {
      const { shown, figure } = figureOf(chart);
      home.querySelector(".charts").append(figure);
      shownCharts.set(chart.name, shown);
    }
    const shown = shownCharts.get(chart.name);
    shown.chart = chart;
    shown.place.setAttribute("aria-label", `${chart.description} Arrow keys show values, + and - zoom, 0 shows all.`);
    draw(shown);
  }
}
