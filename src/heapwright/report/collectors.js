// What collectors did, and what a larger heap buys.

const collectors = data.collectors;
const KIND_COLOURS = { full: "var(--live)", minor: "var(--rounding)" };
let collector = Math.max(0, collectors.findIndex((one) => one.cycles.event.length > 0)); // that is shown

function durationText(ns) {
  let unit = 0;
  while (ns >= 999.5 && unit < 3) { ns /= 1000; unit += 1; }
  return `${unit === 0 ? Math.round(ns) : digits(ns)} ${["ns", "µs", "ms", "s"][unit]}`;
}

const percent = (share) => `${Math.round(100 * share)} %`;

// A chart with a heading above and a sentence below.
function charted(holder, heading, said) {
  const figure = element(holder, "figure");
  element(figure, "figcaption", {}, heading);
  const chart = element(figure, "div", { class: "chart" });
  element(figure, "p", { class: "said" }, said);
  return chart;
}

function shareAxis(box) {
  const y = (share) => box.bottom - (box.bottom - box.top) * share;
  for (const mark of [0, .2, .4, .6, .8, 1]) {
    node(box.svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y(mark), y2: y(mark) });
    node(box.svg, "text", { x: box.left - 8, y: y(mark) + 4, "text-anchor": "end" }, percent(mark));
  }
  return y;
}

function under(box, text) {
  node(box.svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" }, text);
}

// Events of a collector on the axis of its timeline, be it of events or of seconds.
function collectionsAxis(box, one) {
  const x = xAxis(box), timeline = replays.find((each) => each.title === one.title) ?? replays[0];
  return (event) => x(placeOf(timeline, event));
}

// Each tooth is a collection: what the heap had grown to, what was left, and the goal.
function drawTeeth(chart, one) {
  const { event, kind, before_bytes: before, after_bytes: after, goal_bytes: goal } = one.cycles;
  const box = frame(chart, 260, `Heap of ${one.title} before and after each collection`);
  const y = yAxis(box, 1.04 * Math.max(1, ...before, ...goal), tickBytes, 1024);
  const x = collectionsAxis(box, one);
  const at = (number, value) => `${x(event[number]).toFixed(1)} ${y(value).toFixed(1)}`;
  const left = (n) => (n < 0 ? `${box.left} ${y(0)}` : at(n, after[n]));
  const grown = event.map((_, n) => `M${left(n - 1)}L${at(n, before[n])}`);
  node(box.svg, "path", { class: "grown", d: grown.join("") });
  one.kinds.forEach((name, number) => {
    const teeth = event.map((_, n) => (kind[n] === number ? `M${at(n, before[n])}L${at(n, after[n])}` : ""));
    node(box.svg, "path", { class: "tooth", d: teeth.join(""), stroke: KIND_COLOURS[name] });
  });
  const aims = event.map((_, n) => (goal[n] > 0 && n ? `M${at(n - 1, goal[n])}L${at(n, goal[n])}` : ""));
  node(box.svg, "path", { class: "goal", d: aims.join("") });
}

function drawPauses(chart, one) {
  const box = frame(chart, 260, `Pauses of ${one.title} by length`);
  const first = Math.max(0, one.pauses.findIndex((count) => count > 0));
  const counts = one.pauses.slice(first);
  const y = yAxis(box, 1.04 * Math.max(1, ...counts), tickCount, 1000);
  const step = (box.right - box.left) / Math.max(6, counts.length);
  const every = Math.ceil(64 / step);
  counts.forEach((count, number) => {
    const left = box.left + number * step, edge = durationText(2 ** (first + number));
    const bar = node(box.svg, "rect", { x: left + 1, width: Math.max(1, step - 2), y: y(count),
      height: box.bottom - y(count), fill: "var(--live)" });
    node(bar, "title", {}, `up to ${edge}: ${count.toLocaleString("en")} pauses`);
    if (number % every === 0) {
      node(box.svg, "text", { x: left + step / 2, y: box.bottom + 18, "text-anchor": "middle" }, edge);
    }
  });
  under(box, "length of the pause, up to");
}

// The chosen collector's curve over those of the others.
function drawUtilisation(chart, one) {
  const box = frame(chart, 260, `Minimum mutator utilisation of ${one.title}`);
  const windows = collectors.flatMap((each) => each.utilisation.map(([window]) => window));
  const low = Math.log10(Math.min(...windows, 1e9)), high = Math.log10(Math.max(...windows, 10 ** low * 10));
  const x = (window) => box.left + (box.right - box.left) * (Math.log10(window) - low) / (high - low);
  const y = shareAxis(box);
  const every = Math.ceil((high - low) / (box.width < 500 ? 4 : 7));
  for (let power = Math.ceil(low); power <= high; power += every) {
    node(box.svg, "text", { x: x(10 ** power), y: box.bottom + 18, "text-anchor": "middle" },
      durationText(10 ** power).replace(/\.0+ /, " "));
  }
  for (const each of [...collectors.filter((other) => other !== one), one]) {
    const points = each.utilisation.map(([window, share]) => `${x(window).toFixed(1)},${y(share).toFixed(1)}`);
    const line = node(box.svg, "polyline", { class: each === one ? "chosen" : "other", points: points.join(" ") });
    node(line, "title", {}, each.title);
  }
  under(box, "window");
}

function drawSurvival(chart, one) {
  const { event, kind, before_bytes: before, after_bytes: after, survived_bytes: survived } = one.cycles;
  const box = frame(chart, 260, `What survived each collection of ${one.title}`);
  const y = shareAxis(box);
  const x = collectionsAxis(box, one);
  event.forEach((moment, n) => {
    const lookedAt = survived[n] + Math.max(0, before[n] - after[n]);
    if (!lookedAt) return;
    const name = one.kinds[kind[n]];
    const dot = node(box.svg, "circle", { class: "dot", cx: x(moment), cy: y(survived[n] / lookedAt), r: 3,
      fill: KIND_COLOURS[name] });
    node(dot, "title", {}, `${name}: ${bytesText(survived[n])} of ${bytesText(lookedAt)} survived`);
  });
}

// Young and old, stacked, as each collection found and left them: two points at its event.
const SPACES = [["old", "var(--live)"], ["survivors", "var(--rounding)"], ["eden", "var(--cached)"]];

function drawGenerations(chart, one) {
  const { collections: rows, capacity } = one.generations;
  const box = frame(chart, 260, `Generations of ${one.title} through time`);
  const two = (space) => [0, ...rows.event.flatMap((_, n) => [rows[`${space}_before`][n], rows[space][n]])];
  const stacks = [[0, ...rows.event.flatMap(() => [0, 0])]]; // all begins with nothing
  for (const [space] of SPACES) stacks.push(two(space).map((size, n) => size + stacks.at(-1)[n]));
  const y = yAxis(box, 1.04 * Math.max(1, capacity.old ?? 0, ...stacks.at(-1)), tickBytes, 1024);
  const x = collectionsAxis(box, one);
  const xs = [box.left, ...rows.event.flatMap((event) => [x(event).toFixed(1), x(event).toFixed(1)])];
  const edge = (stack) => stack.map((size, n) => `${xs[n]},${y(size).toFixed(1)}`);
  SPACES.forEach(([space, fill], n) => {
    const points = [...edge(stacks[n + 1]), ...edge(stacks[n]).reverse()];
    const area = node(box.svg, "polygon", { class: "space", points: points.join(" "), fill });
    node(area, "title", {}, space);
  });
  if (capacity.old) {
    node(box.svg, "line", { class: "goal", x1: box.left, x2: box.right, y1: y(capacity.old), y2: y(capacity.old) });
  }
  const key = element(chart, "div", { class: "key" });
  for (const [space, fill] of SPACES) {
    const item = element(key, "span");
    element(item, "i").style.background = fill;
    item.append(space);
  }
}

function drawPromotion(chart, one) {
  const { event, kind, promoted } = one.generations.collections;
  const box = frame(chart, 260, `What each collection of ${one.title} promoted`);
  const y = yAxis(box, 1.04 * Math.max(1, ...promoted), tickBytes, 1024);
  const x = collectionsAxis(box, one);
  event.forEach((moment, n) => {
    if (!promoted[n]) return;
    const stem = node(box.svg, "line", { class: "stem", x1: x(moment), x2: x(moment), y1: box.bottom, y2: y(promoted[n]) });
    node(stem, "title", {}, `${one.generations.kinds[kind[n]]}: ${bytesText(promoted[n])}`);
  });
}

function drawAges(chart, one) {
  const { ages, threshold } = one.generations;
  const box = frame(chart, 260, `Survivors of ${one.title} by age`);
  const y = yAxis(box, 1.04 * Math.max(1, ...ages), tickBytes, 1024);
  const step = (box.right - box.left) / ages.length;
  ages.forEach((size, n) => {
    const bar = node(box.svg, "rect", { class: "age", x: box.left + n * step + 1, width: Math.max(1, step - 2),
      y: y(size), height: box.bottom - y(size), fill: n + 1 < threshold ? "var(--rounding)" : "var(--live)" });
    node(bar, "title", {}, `age ${n + 1}: ${bytesText(size)}`);
    if (n % Math.ceil(24 / step)) return;
    node(box.svg, "text", { x: box.left + (n + .5) * step, y: box.bottom + 18, "text-anchor": "middle" }, `${n + 1}`);
  });
  under(box, "collections survived");
}

function saidOfGenerations(one) {
  const { capacity, counted, collections, threshold, promoted_bytes: promoted } = one.generations;
  const shown = collections.event.length < counted
    ? ` ${collections.event.length.toLocaleString("en")} of ${counted.toLocaleString("en")} collections are drawn.` : "";
  const room = Object.entries(capacity).map(([space, size]) => `${space} ${bytesText(size)}`).join(", ");
  return {
    generations: `Stacked, before and after each collection. Room: ${room}.` +
      `${capacity.old ? " Dashed: that of old." : ""}${shown}`,
    promotion: `In all ${bytesText(promoted.total)}; the median young collection ${bytesText(promoted.median)}.${shown}`,
    ages: `As the last young collection counted them; promoted from age ${threshold.toLocaleString("en")} on.`,
  };
}

function saidOf(one) {
  const most = Math.max(0, ...one.cycles.goal_bytes);
  const shown = one.cycles.event.length < one.collections
    ? ` ${one.cycles.event.length.toLocaleString("en")} of ${one.collections.toLocaleString("en")} are drawn.` : "";
  const survival = Object.entries(one.survival).map(([kind, share]) => `${percent(share)} of ${kind} collections' bytes`);
  const half = one.utilisation.find(([, share]) => share >= .5);
  return {
    teeth: `A tooth is a collection: from what the heap had grown to down to what was left.` +
      `${most ? " Dashed: the goal." : ""}${shown}`,
    pauses: "A bar spans a factor of two.",
    utilisation: (half ? `In any ${durationText(half[0])} at least half of the time is the program's.`
      : "In no window is half of the time sure to be the program's.") +
      `${collectors.length > 1 ? " Thin: the others." : ""}`,
    survival: survival.length ? `In all, ${survival.join(", ")} survived.` : "",
  };
}

function drawCollector() {
  const holder = document.getElementById("collecting");
  const one = collectors[collector];
  const said = saidOf(one);
  holder.replaceChildren();
  const charts = [
    [drawTeeth, charted(holder, "The heap at each collection", said.teeth)],
    [drawPauses, charted(holder, "Pauses", said.pauses)],
    [drawUtilisation, charted(holder, "Minimum mutator utilisation", said.utilisation)],
    [drawSurvival, charted(holder, "What survives a collection", said.survival)],
  ];
  if (one.generations?.counted) {
    const told = saidOfGenerations(one);
    charts.push([drawGenerations, charted(holder, "Generations", told.generations)]);
    charts.push([drawPromotion, charted(holder, "Promoted by each collection", told.promotion)]);
    if (one.generations.ages.some((size) => size)) {
      charts.push([drawAges, charted(holder, "Survivors by age", told.ages)]);
    }
  }
  for (const [draw, chart] of charts) draw(chart, one); // once all are there: the width is shared
}

// Time and memory at each heap size, a line per collector; a gap where it does not fit.
const CURVES = [
  { key: "time", heading: "Time, over that of explicit freeing" },
  { key: "space", heading: "Most resident memory, over that of explicit freeing" },
];

function drawCurves() {
  const holder = document.getElementById("curves");
  holder.replaceChildren();
  const charts = data.curves.flatMap((curve) => CURVES.map(({ key, heading }) =>
    [curve, key, heading, charted(holder, data.curves.length > 1 ? `${heading} · ${curve.name}` : heading, "")]));
  for (const each of charts) drawCurve(...each);
}

function drawCurve(curve, key, heading, chart) {
  const names = [...new Set(curve.rows.map((row) => row.collector))];
  const rows = curve.rows.filter((row) => row.fits && row[key] !== null);
  const box = frame(chart, 300, `${heading}, by heap size`);
  const y = yAxis(box, 1.08 * Math.max(1, ...rows.map((row) => row[key])), (mark) => `${digits(mark)}×`, 1e9);
  const sizes = [...new Set(curve.rows.map((row) => row.heap))].sort((a, b) => a - b);
  const low = sizes[0], high = Math.max(sizes[sizes.length - 1], low * 1.01);
  const x = (size) => box.left + 12 + (box.right - box.left - 24) * (size - low) / (high - low);
  let labelled = -Infinity; // where the last label stands
  for (const size of sizes) {
    if (x(size) - labelled < 36) continue;
    labelled = x(size);
    node(box.svg, "text", { x: x(size), y: box.bottom + 18, "text-anchor": "middle" }, `${size}×`);
  }
  under(box, "heap, over the most bytes ever live");
  if (curve.baseline) {
    node(box.svg, "line", { class: "baseline", x1: box.left, x2: box.right, y1: y(1), y2: y(1) });
  }
  names.forEach((name, number) => {
    const mine = rows.filter((row) => row.collector === name);
    const colour = LINES[number % LINES.length];
    const points = mine.map((row) => `${x(row.heap).toFixed(1)},${y(row[key]).toFixed(1)}`);
    node(box.svg, "polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 2 });
    for (const row of mine) {
      const dot = node(box.svg, "circle", { cx: x(row.heap), cy: y(row[key]), r: 4, fill: colour });
      node(dot, "title", {}, `${name} at ${row.heap}×: ${digits(row[key])}`);
    }
  });
  const legend = element(chart, "div", { class: "key" });
  names.forEach((name, number) => {
    const item = element(legend, "span");
    element(item, "i").style.background = LINES[number % LINES.length];
    item.append(rows.some((row) => row.collector === name) ? name : `${name}: no room`);
  });
  if (curve.baseline) element(legend, "span", {}, `dashed: ${curve.baseline}, freeing explicitly`);
}

if (collectors.length) {
  tabs(document.getElementById("collector"), collectors.map((one) => one.title), collector, (number) => {
    collector = number;
    drawCollector();
  });
  redraws.push(drawCollector);
}
if (data.curves.length) redraws.push(drawCurves);
