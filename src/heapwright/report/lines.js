// Timelines: what each manager held, over the recorded time or over events.
//
//   all    the present state, the advised one and the real ones in colours of their own, named at the
//          ends of their lines; what only compares is grey
//   one    its parts, stacked

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
let shown = 0; // all; else the number of a timeline, from 1

// Each colour once: ink for the present state, the page's own for the advised one.
const OWN_COLOURS = { present: "var(--ink)", advised: "var(--accent)" };
const colours = new Map();
const MOST_COLOURS = 8; // beyond which twins are grey; and so are those beside whom the real one is drawn
const measured = new Set(replays.filter((each) => each.role === "real").map((each) => each.title));
const rank = { present: 0, advised: 0, real: 1, twin: 2 };
const told = replays.filter((each) => each.role in rank && !(each.role === "twin" && measured.has(`real ${each.title}`)))
  .sort((one, other) => rank[one.role] - rank[other.role]);
for (const timeline of told.filter((each, n) => each.role !== "twin" || n < MOST_COLOURS)) {
  const own = OWN_COLOURS[timeline.role], used = [...colours.values()];
  const next = own && !used.includes(own) ? own : LINES.find((line) => !used.includes(line));
  if (next) colours.set(timeline, next);
}
const greys = replays.filter((timeline) => !colours.has(timeline));

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

// What the recorded program's own heap held, as its recorder saw it: of one trace alone.
function samplesOfItself() {
  const known = data.document.trace?.process;
  if (!known?.samples?.length || data.collectors.length) return [];
  const [event, time, heap] = ["event", "time_ns", "heap"].map((name) => known.columns.indexOf(name));
  return known.samples.map((row) => ({ event: row[event], seconds: row[time] / 1e9, heap: row[heap] }));
}
const itself = samplesOfItself();
const ITSELF = "the program itself, as recorded";

function drawItself(box, x, y, top) {
  const points = itself.map((sample) =>
    `${x(Math.min(sample[axis === "seconds" ? "seconds" : "event"], last())).toFixed(1)},${y(Math.min(sample.heap, top)).toFixed(1)}`);
  const line = node(box.svg, "polyline", { points: points.join(" "), fill: "none", class: "itself" });
  node(line, "title", {}, ITSELF);
}

function drawAll() {
  const box = frame(holder, 380, "Resident memory of every manager over time");
  const telling = colours.size ? [...colours.keys()] : replays;
  const room = Math.min(170, Math.max(84, .24 * box.width)); // for the names at the ends
  box.right -= room;
  const peaks = telling.map((timeline) => timeline.resident_bytes[peakRow(timeline)]);
  const least = Math.min(...peaks.filter((peak) => peak > 0));
  const limit = data.collectors.length ? 8 : 3; // as of the bars
  const top = 1.04 * Math.max(1, ...peaks.filter((peak) => peak <= limit * least));
  const y = yAxis(box, top, tickBytes, 1024);
  const x = xAxis(box);
  const drawn = [...greys, ...[...colours.keys()].reverse()]; // the present state over the others
  for (const timeline of drawn) {
    const points = places(timeline).map((place, row) =>
      `${x(place).toFixed(1)},${y(timeline.resident_bytes[row]).toFixed(1)}`);
    const line = node(box.svg, "polyline", { points: points.join(" "), fill: "none",
      class: colours.has(timeline) ? timeline.role : "grey", stroke: colours.get(timeline) ?? "var(--retained)",
      "stroke-dasharray": timeline.kind === "measured" ? "5 3" : "none" });
    node(line, "title", {}, timeline.title);
  }
  if (itself.length) drawItself(box, x, y, top);
  nameEnds(box, y, room);
  const beyond = replays.filter((timeline) => timeline.resident_bytes[peakRow(timeline)] > top);
  if (beyond.length) {
    const names = beyond.length > 3 ? `${beyond.length} others` : beyond.map((timeline) => timeline.title).join(", ");
    node(box.svg, "text", { x: box.left + 8, y: box.top + 12 }, `beyond the top: ${names}`);
  }
  reading(box, x, replays[0], last(), (place, event) => {
    const held = (timeline) =>
      timeline.resident_bytes[event === null ? rowAt(timeline, place) : lastAtMost(timeline.event, event)];
    const rows = [...colours].map(([timeline, line]) => [line, timeline.title, held(timeline)]);
    if (greys.length) {
      const values = greys.map(held);
      rows.push([null, `${greys.length} more, to compare`, Math.min(...values), Math.max(...values)]);
    }
    if (itself.length) {
      const before = axis === "events" || event === null ? (sample) => sample[axis === "seconds" ? "seconds" : "event"] <= place
        : (sample) => sample.event <= event;
      rows.push(["var(--bad)", ITSELF, (itself.findLast(before) ?? itself[0]).heap]);
    }
    const row = rowAt(replays[0], place);
    const shown = axis === "events" ? Math.round(place) : event ?? replays[0].event[row];
    fill("resident, ", shown, axis === "seconds" ? place : undefined, rows);
  });
}

// What a name begins and ends with tells it from its neighbours.
const elided = (name, most) => name.length <= most ? name
  : `${name.slice(0, Math.ceil(most / 2) - 1)}…${name.slice(-Math.floor(most / 2))}`;

// The coloured lines' names at their right ends, apart from each other, in their colours.
function nameEnds(box, y, room) {
  const gap = 15, letters = Math.floor((room - 14) / 6.4);
  const ends = [...colours].map(([timeline, line]) => ({ timeline, line, at: y(timeline.resident_bytes.at(-1)) }));
  ends.sort((one, other) => one.at - other.at);
  ends.forEach((end, n) => { end.to = Math.max(end.at, n ? ends[n - 1].to + gap : box.top + 6); });
  for (let n = ends.length - 1, most = box.bottom; n >= 0; n -= 1, most = ends[n + 1].to - gap) {
    ends[n].to = Math.min(ends[n].to, most);
  }
  for (const { timeline, line, at, to } of ends) {
    node(box.svg, "path", { class: "leader", d: `M${box.right} ${at.toFixed(1)}L${box.right + 9} ${to.toFixed(1)}` });
    const text = node(box.svg, "text", { class: "end-name", x: box.right + 12, y: to + 4 },
      elided(timeline.title.replace(" (as recorded)", ""), letters));
    text.style.fill = line;
    node(text, "title", {}, timeline.title);
  }
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
  for (const [colour, name, value, most] of rows) {
    const row = element(body, "tr", colour === null ? { class: most === undefined ? "total" : "total range" } : {});
    const cell = element(row, "td");
    if (colour !== null) element(cell, "i").style.background = colour;
    cell.append(name);
    element(row, "td", {}, most === undefined ? bytesText(value) : `${bytesText(value)} to ${bytesText(most)}`);
  }
}

const drawTimeline = () => (shown === 0 ? drawAll() : drawParts(replays[shown - 1]));

if (replays.length) {
  const named = [...colours.keys()], buttons = document.getElementById("replays");
  const others = document.getElementById("others");
  tabs(buttons, ["all", ...named.map((timeline) => timeline.title)], 0, (number) => {
    shown = number ? replays.indexOf(named[number - 1]) + 1 : 0;
    others.value = "";
    drawTimeline();
  });
  others.hidden = greys.length === 0;
  element(others, "option", { value: "" }, "another manager …");
  greys.forEach((timeline) => element(others, "option", { value: replays.indexOf(timeline) + 1 }, timeline.title));
  others.addEventListener("change", () => {
    shown = Number(others.value);
    for (const [number, button] of [...buttons.children].entries()) {
      button.setAttribute("aria-pressed", shown === 0 && number === 0);
    }
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
