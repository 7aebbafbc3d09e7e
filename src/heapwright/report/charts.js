// Timelines, histograms, lifetimes against sizes.

// Timelines ---------------------------------------------------------------------------------

const replays = data.timelines.filter((timeline) => timeline.event.length > 0);
const holder = document.getElementById("timeline");
const readout = document.querySelector(".readout");
// What the axis counts: seconds only where every timeline knows them; they rise with the events.
const AXES = replays.every((timeline) => timeline.seconds) ? ["seconds", "events"] : ["events"];
let axis = AXES[0];
const places = (timeline) => (axis === "seconds" ? timeline.seconds : timeline.event);
const last = () => Math.max(axis === "seconds" ? 1e-9 : 1, ...replays.map((timeline) => places(timeline).at(-1)));
let moment = null; // the event that the slider shows; null until it is moved
let moveCursor = () => {}; // of the chart drawn last
let shown = replays.findIndex((timeline) => timeline.kind === "twin") + 1;

const peakRow = (timeline) => timeline.resident_bytes.indexOf(Math.max(...timeline.resident_bytes));

const rowAt = (timeline, place) => lastAtMost(places(timeline), place);

// Where an event stands on the axis: by the timeline's last sample before it, and its share of the way.
function placeOf(timeline, event) {
  if (axis === "events") return event;
  const row = lastAtMost(timeline.event, event), next = Math.min(row + 1, timeline.event.length - 1);
  const span = timeline.event[next] - timeline.event[row];
  const share = span > 0 ? Math.max(0, event - timeline.event[row]) / span : 0;
  return timeline.seconds[row] + share * (timeline.seconds[next] - timeline.seconds[row]);
}

function layers(timeline) {
  return data.parts.filter((part) => timeline[`${part.key}_bytes`]).map((part) => {
    const rest = timeline.kind === "measured" && part.key === "partial";
    return { key: rest ? "rest" : part.key, name: rest ? "not told apart" : part.name,
      values: timeline[`${part.key}_bytes`] };
  });
}

function xAxis(box) {
  const x = (place) => box.left + (box.right - box.left) * place / last();
  // ticks are whole numbers: of seconds they are taken in nanoseconds
  const scale = axis === "seconds" ? 1e9 : 1, text = axis === "seconds" ? durationText : tickCount;
  for (const mark of ticks(last() * scale, box.width < 500 ? 4 : 8, 1000)) {
    node(box.svg, "text", { x: x(mark / scale), y: box.bottom + 18, "text-anchor": "middle" }, text(mark));
  }
  const named = axis === "seconds" ? "time of the recorded program" : "events";
  node(box.svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" }, named);
  return x;
}

function drawParts(timeline) {
  const box = frame(holder, 380, `Resident memory of ${timeline.title} over time, by part`);
  const y = yAxis(box, 1.04 * Math.max(1, ...timeline.resident_bytes), tickBytes, 1024);
  const x = xAxis(box);
  const xs = places(timeline).map((place) => x(place).toFixed(1));
  let below = timeline.event.map(() => 0);
  for (const layer of layers(timeline)) {
    const above = below.map((value, row) => value + layer.values[row]);
    const there = above.map((value, row) => `${xs[row]},${y(value).toFixed(1)}`);
    const back = below.map((value, row) => `${xs[row]},${y(value).toFixed(1)}`).reverse();
    node(box.svg, "polygon", { points: there.concat(back).join(" "), fill: `var(--${layer.key})` });
    below = above;
  }
  const marks = timeline.collected.map((event) => `M${x(placeOf(timeline, event)).toFixed(1)} ${box.top - 8}v6`);
  if (marks.length) {
    const path = node(box.svg, "path", { class: "collected", d: marks.join("") });
    node(path, "title", {}, "collections");
  }
  const peak = peakRow(timeline);
  node(box.svg, "circle", { class: "peak", cx: xs[peak], cy: y(timeline.resident_bytes[peak]), r: 4 });
  if (timeline.end_event !== null) {
    const end = lastAtMost(timeline.event, timeline.end_event);
    const mark = node(box.svg, "circle", { class: "end", cx: xs[end], cy: y(timeline.resident_bytes[end]), r: 4 });
    node(mark, "title", {}, `the end, settled: ${bytesText(timeline.resident_bytes[end])} stay`);
  }
  reading(box, x, timeline, placeOf(timeline, timeline.event[peak]), (place, event) => {
    const row = event === null ? rowAt(timeline, place) : lastAtMost(timeline.event, event);
    const rows = layers(timeline).map((layer) => [`var(--${layer.key})`, layer.name, layer.values[row]]);
    rows.reverse().push([null, "resident", timeline.resident_bytes[row]]);
    fill(row === peak ? "at the peak, " : "", timeline.event[row], timeline.seconds?.[row], rows);
  });
}

function drawAll() {
  const box = frame(holder, 380, "Resident memory of every manager over time");
  const peaks = replays.map((timeline) => timeline.resident_bytes[peakRow(timeline)]);
  const least = Math.min(...peaks.filter((peak) => peak > 0));
  const limit = data.collectors.length ? 8 : 3; // as of the bars
  const top = 1.04 * Math.max(1, ...peaks.filter((peak) => peak <= limit * least));
  const y = yAxis(box, top, tickBytes, 1024);
  const x = xAxis(box);
  replays.forEach((timeline, number) => {
    const points = places(timeline).map((place, row) =>
      `${x(place).toFixed(1)},${y(timeline.resident_bytes[row]).toFixed(1)}`);
    node(box.svg, "polyline", { points: points.join(" "), fill: "none", "stroke-width": number === 0 ? 3 : 1.6,
      stroke: LINES[number % LINES.length], "stroke-dasharray": timeline.kind === "measured" ? "5 3" : "none" });
  });
  const beyond = replays.filter((timeline, number) => peaks[number] > top).map((timeline) => timeline.title);
  if (beyond.length) {
    node(box.svg, "text", { x: box.left + 8, y: box.top + 12 }, `beyond the top: ${beyond.join(", ")}`);
  }
  reading(box, x, replays[0], last(), (place, event) => {
    const rows = replays.map((timeline, number) => [LINES[number % LINES.length], timeline.title,
      timeline.resident_bytes[event === null ? rowAt(timeline, place) : lastAtMost(timeline.event, event)]]);
    const row = rowAt(replays[0], place);
    const shown = axis === "events" ? Math.round(place) : event ?? replays[0].event[row];
    fill("resident, ", shown, axis === "seconds" ? place : undefined, rows);
  });
}

// Follow the pointer or the arrow keys; `show` is told the place on the axis under the cursor, and the
// event where the slider asks for one: several may have the same second.
function reading(box, x, timeline, start, show) {
  let place = start;
  const cursor = node(box.svg, "line", { class: "cursor", y1: box.top, y2: box.bottom });
  const move = (to, event = null) => {
    place = Math.max(0, Math.min(last(), to));
    cursor.setAttribute("x1", x(place));
    cursor.setAttribute("x2", x(place));
    show(place, event);
  };
  box.svg.setAttribute("tabindex", "0");
  box.svg.addEventListener("pointermove", (at) => {
    const area = box.svg.getBoundingClientRect();
    const pixel = (at.clientX - area.left) * box.width / area.width;
    move((pixel - box.left) / (box.right - box.left) * last());
  });
  box.svg.addEventListener("keydown", (key) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key.key];
    if (step) { key.preventDefault(); move(place + step * last() / 200); }
  });
  moveCursor = (event) => move(placeOf(timeline, event), event);
  if (moment === null) move(start); else moveCursor(moment);
}

function fill(prefix, event, seconds, rows) {
  readout.replaceChildren();
  const when = seconds === undefined ? "" : `, at ${durationText(1e9 * seconds)}`;
  element(readout, "caption", {}, `${prefix}after event ${event.toLocaleString("en")}${when}`);
  const body = element(readout, "tbody");
  for (const [colour, name, value] of rows) {
    const row = element(body, "tr", colour === null ? { class: "total" } : {});
    const cell = element(row, "td");
    if (colour !== null) element(cell, "i").style.background = colour;
    cell.append(name);
    element(row, "td", {}, bytesText(value));
  }
}

const drawTimeline = () => (shown === 0 ? drawAll() : drawParts(replays[shown - 1]));

const HISTOGRAMS = [
  { tab: "requests by size", rows: "sizes", value: "count", upTo: "to_bytes", axis: "size of the request, up to",
    edge: tickBytes, tick: tickCount, text: (count) => `${countText(count)} requests`, base: 1000 },
  { tab: "bytes by size", rows: "sizes", value: "bytes", upTo: "to_bytes", axis: "size of the request, up to",
    edge: tickBytes, tick: tickBytes, text: bytesText, base: 1024 },
  { tab: "lifetimes", rows: "lifetimes", value: "count", upTo: "to_events",
    axis: "events from birth to free, up to", edge: tickCount, tick: tickCount,
    text: (count) => `${countText(count)} objects`, base: 1000 },
];
let counted = 0;

// A chart for each trace, next to each other.
function perTrace(id, draw) {
  const holder = document.getElementById(id);
  const charts = data.traces.map((trace) => {
    const figure = element(holder, "figure");
    if (data.traces.length > 1) element(figure, "figcaption", {}, trace.name);
    return [element(figure, "div", { class: "chart" }), trace];
  });
  return () => charts.forEach(([chart, trace]) => draw(chart, trace));
}

const drawHistograms = perTrace("histograms", (chart, trace) => {
  const { rows, value, upTo, axis, edge, tick, text, base, tab } = HISTOGRAMS[counted];
  const values = trace[rows];
  const box = frame(chart, 260, `Histogram: ${tab}`);
  const y = yAxis(box, 1.04 * Math.max(1, ...values.map((row) => row[value])), tick, base);
  const step = (box.right - box.left) / Math.max(1, values.length);
  const every = Math.ceil(60 / step);
  values.forEach((row, number) => {
    const left = box.left + number * step;
    const bar = node(box.svg, "rect", { x: left + 1, width: Math.max(1, step - 2), y: y(row[value]),
      height: box.bottom - y(row[value]), fill: "var(--live)" });
    node(bar, "title", {}, `up to ${edge(row[upTo])}: ${text(row[value])}`);
    if (number % every === 0) {
      node(box.svg, "text", { x: left + step / 2, y: box.bottom + 18, "text-anchor": "middle" }, edge(row[upTo]));
    }
  });
  node(box.svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" }, axis);
});

// Lifetimes against sizes: a cell per pair of buckets; the arrow keys visit the filled ones.
const drawLifetimes = perTrace("lifetimes", (chart, trace) => {
  const rows = trace.lifetimes_by_size;
  const power = (bound) => Math.round(Math.log2(bound));
  const box = frame(chart, 320, "Objects by size and lifetime");
  if (!rows.length) return;
  const sizes = rows.map((row) => power(row.to_bytes)), low = Math.min(...sizes), high = Math.max(...sizes);
  const ages = rows.filter((row) => row.to_events !== null).map((row) => power(row.to_events));
  const oldest = Math.max(0, ...ages);
  const width = (box.right - box.left) / (high - low + 1);
  const height = (box.bottom - box.top - 6) / (oldest + 2); // the top row stands apart
  const most = Math.log(1 + Math.max(...rows.map((row) => row.count)));
  const place = (row) => [box.left + (power(row.to_bytes) - low) * width,
    row.to_events === null ? box.top : box.bottom - (power(row.to_events) + 1) * height];
  const words = (row) => `${row.count.toLocaleString("en")} objects of up to ${tickBytes(row.to_bytes)}, ` +
    (row.to_events === null ? "never freed" : `freed within ${row.to_events.toLocaleString("en")} events`);
  const said = chart.parentNode.querySelector("p") ?? element(chart.parentNode, "p", { class: "said", role: "status" });
  const mark = (row) => {
    said.textContent = words(row);
    const [x, y] = place(row);
    ring.setAttribute("x", x); ring.setAttribute("y", y);
  };
  for (const row of rows) {
    const [x, y] = place(row);
    const cell = node(box.svg, "rect", { x: x + .5, y: y + .5, width: Math.max(1, width - 1),
      height: Math.max(1, height - 1), fill: "var(--live)", "fill-opacity": .08 + .92 * Math.log(1 + row.count) / most });
    cell.addEventListener("pointerenter", () => mark(row));
    cell.addEventListener("pointerdown", () => mark(row));
  }
  const ring = node(box.svg, "rect", { class: "ring", width, height, x: -99 });
  for (let bucket = low; bucket <= high; bucket += Math.ceil(60 / width)) {
    node(box.svg, "text", { x: box.left + (bucket - low + .5) * width, y: box.bottom + 18, "text-anchor": "middle" },
      tickBytes(2 ** bucket));
  }
  for (let bucket = 0; bucket <= oldest; bucket += Math.ceil(22 / height)) {
    node(box.svg, "text", { x: box.left - 8, y: box.bottom - (bucket + .5) * height + 4, "text-anchor": "end" },
      countText(2 ** bucket));
  }
  node(box.svg, "text", { x: box.left - 8, y: box.top + height / 2 + 4, "text-anchor": "end" }, "never");
  node(box.svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" },
    "size, up to");
  const order = [...rows].sort((a, b) => a.to_bytes - b.to_bytes || (a.to_events ?? Infinity) - (b.to_events ?? Infinity));
  let at = order.findIndex((row) => row.count === Math.max(...rows.map((each) => each.count)));
  box.svg.setAttribute("tabindex", "0");
  box.svg.addEventListener("focus", () => mark(order[at]));
  box.svg.addEventListener("keydown", (key) => {
    const here = order[at], step = { ArrowUp: 1, ArrowDown: -1, ArrowRight: 1, ArrowLeft: -1 }[key.key];
    if (!step) return;
    key.preventDefault();
    const sideways = key.key === "ArrowRight" || key.key === "ArrowLeft";
    const along = (row) => (sideways ? row.to_events === here.to_events : row.to_bytes === here.to_bytes);
    for (let n = at + step; n >= 0 && n < order.length; n += step) {
      if (along(order[n])) { at = n; break; }
    }
    mark(order[at]);
  });
});

if (replays.length) {
  tabs(document.getElementById("replays"), ["all", ...replays.map((timeline) => timeline.title)], shown, (number) => {
    shown = number;
    drawTimeline();
  });
  if (AXES.length > 1) {
    tabs(document.getElementById("axis"), AXES, 0, (number) => {
      axis = AXES[number];
      redraws.forEach((draw) => draw()); // those about collections have this axis too
    });
  }
  redraws.push(drawTimeline);
}
tabs(document.getElementById("counted"), HISTOGRAMS.map((histogram) => histogram.tab), counted, (number) => {
  counted = number;
  drawHistograms();
});
redraws.push(drawHistograms, drawLifetimes);
