"use strict";
// Draws the timelines and the size histogram of the page from the data embedded in it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const LINES = ["#2f7ed8", "#e8710a", "#7b52c7", "#12a67c", "#e0457b", "#9c7a2e", "#39a9c9", "#8bbf2f",
    "#b98ae6", "#d93025", "#7a8594", "#c9a227"];

  function node(parent, tag, attributes = {}, text = null) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== null) made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  function element(parent, tag, attributes = {}, text = null) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== null) made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  function digits(value) {
    if (value === 0) return "0";
    const places = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  }

  function bytesText(count) {
    let size = count, unit = 0;
    while (size >= 1000 && unit < 4) { size /= 1024; unit += 1; }
    const name = ["B", "KiB", "MiB", "GiB", "TiB"][unit];
    return unit === 0 ? `${count} B` : `${digits(size)} ${name}`;
  }

  function countText(count) {
    let unit = 0;
    while (count >= 999.5 && unit < 3) { count /= 1000; unit += 1; }
    return unit === 0 ? `${Math.round(count)}` : `${digits(count)} ${["", "k", "M", "G"][unit]}`;
  }

  // Round numbers between 0 and `top`, about `wanted` of them; powers of two times 1, 2.5, 5 in bytes.
  function ticks(top, wanted, base) {
    if (top <= 0) return [0];
    let unit = 1;
    while (unit * base <= top / 2) unit *= base;
    let step = unit / 1000;
    const factors = [1, 2, 5];
    for (let n = 0; top / step > wanted; n += 1) step = unit / 1000 * factors[n % 3] * 10 ** Math.floor(n / 3);
    if (base === 1000) step = Math.max(1, step);
    const marks = [];
    for (let mark = 0; mark <= top; mark += step) marks.push(mark);
    return marks;
  }

  function tickBytes(mark) {
    if (mark === 0) return "0";
    let size = mark, unit = 0;
    while (size >= 1024 && unit < 4) { size /= 1024; unit += 1; }
    return `${Math.round(size * 100) / 100} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
  }

  function tickCount(mark) {
    let size = mark, unit = 0;
    while (size >= 1000 && unit < 3) { size /= 1000; unit += 1; }
    return `${Math.round(size * 100) / 100}${["", " k", " M", " G"][unit]}`;
  }

  // An empty chart with axes; x and y map values to pixels.
  function frame(holder, height, label) {
    holder.replaceChildren();
    const width = Math.max(280, holder.clientWidth);
    const svg = node(holder, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    return { svg, width, height, left: 66, right: width - 12, top: 12, bottom: height - 40 };
  }

  function yAxis(box, top, text, base) {
    const y = (value) => box.bottom - (box.bottom - box.top) * Math.min(1, value / top);
    for (const mark of ticks(top, 6, base)) {
      node(box.svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y(mark), y2: y(mark) });
      node(box.svg, "text", { x: box.left - 8, y: y(mark) + 4, "text-anchor": "end" }, text(mark));
    }
    return y;
  }

  function tabs(holder, names, chosen, choose) {
    names.forEach((name, number) => {
      const button = element(holder, "button", { type: "button", "aria-pressed": number === chosen }, name);
      button.addEventListener("click", () => {
        for (const other of holder.children) other.setAttribute("aria-pressed", other === button);
        choose(number);
      });
    });
  }

  // Timelines ---------------------------------------------------------------------------------

  const flown = data.timelines.filter((timeline) => timeline.event.length > 0);
  const holder = document.getElementById("timeline");
  const readout = document.querySelector(".readout");
  const last = Math.max(1, ...flown.map((timeline) => timeline.event[timeline.event.length - 1]));
  let shown = flown.findIndex((timeline) => timeline.kind === "twin") + 1;

  const peakRow = (timeline) => timeline.resident_bytes.indexOf(Math.max(...timeline.resident_bytes));

  function rowAt(timeline, event) {
    let low = 0, high = timeline.event.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (timeline.event[middle] <= event) low = middle; else high = middle - 1;
    }
    return low;
  }

  function layers(timeline) {
    return data.parts.filter((part) => timeline[`${part.key}_bytes`]).map((part) => {
      const rest = timeline.kind === "measured" && part.key === "partial";
      return { key: rest ? "rest" : part.key, name: rest ? "not told apart" : part.name,
        values: timeline[`${part.key}_bytes`] };
    });
  }

  function xAxis(box) {
    const x = (event) => box.left + (box.right - box.left) * event / last;
    for (const mark of ticks(last, box.width < 500 ? 4 : 8, 1000)) {
      node(box.svg, "text", { x: x(mark), y: box.bottom + 18, "text-anchor": "middle" }, tickCount(mark));
    }
    node(box.svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" }, "events");
    return x;
  }

  function drawParts(timeline) {
    const box = frame(holder, 380, `Resident memory of ${timeline.title} over time, by part`);
    const y = yAxis(box, 1.04 * Math.max(1, ...timeline.resident_bytes), tickBytes, 1024);
    const x = xAxis(box);
    const xs = timeline.event.map((event) => x(event).toFixed(1));
    let below = timeline.event.map(() => 0);
    for (const layer of layers(timeline)) {
      const above = below.map((value, row) => value + layer.values[row]);
      const there = above.map((value, row) => `${xs[row]},${y(value).toFixed(1)}`);
      const back = below.map((value, row) => `${xs[row]},${y(value).toFixed(1)}`).reverse();
      node(box.svg, "polygon", { points: there.concat(back).join(" "), fill: `var(--${layer.key})` });
      below = above;
    }
    const peak = peakRow(timeline);
    node(box.svg, "circle", { class: "peak", cx: xs[peak], cy: y(timeline.resident_bytes[peak]), r: 4 });
    reading(box, x, timeline.event[peak], (event) => {
      const row = rowAt(timeline, event);
      const rows = layers(timeline).map((layer) => [`var(--${layer.key})`, layer.name, layer.values[row]]);
      rows.reverse().push([null, "resident", timeline.resident_bytes[row]]);
      fill(row === peak ? "at the peak, " : "", timeline.event[row], rows);
    });
  }

  function drawAll() {
    const box = frame(holder, 380, "Resident memory of every manager over time");
    const peaks = flown.map((timeline) => timeline.resident_bytes[peakRow(timeline)]);
    const least = Math.min(...peaks.filter((peak) => peak > 0));
    const top = 1.04 * Math.max(1, ...peaks.filter((peak) => peak <= 3 * least));
    const y = yAxis(box, top, tickBytes, 1024);
    const x = xAxis(box);
    flown.forEach((timeline, number) => {
      const points = timeline.event.map((event, row) =>
        `${x(event).toFixed(1)},${y(timeline.resident_bytes[row]).toFixed(1)}`);
      node(box.svg, "polyline", { points: points.join(" "), fill: "none", "stroke-width": number === 0 ? 3 : 1.6,
        stroke: LINES[number % LINES.length], "stroke-dasharray": timeline.kind === "measured" ? "5 3" : "none" });
    });
    const beyond = flown.filter((timeline, number) => peaks[number] > top).map((timeline) => timeline.title);
    if (beyond.length) {
      node(box.svg, "text", { x: box.left + 8, y: box.top + 12 }, `beyond the top: ${beyond.join(", ")}`);
    }
    reading(box, x, last, (event) => {
      const rows = flown.map((timeline, number) => [LINES[number % LINES.length], timeline.title,
        timeline.resident_bytes[rowAt(timeline, event)]]);
      fill("resident, ", Math.round(event), rows);
    });
  }

  // Follow the pointer or the arrow keys; `show` is told the event under the cursor.
  function reading(box, x, start, show) {
    let event = start;
    const cursor = node(box.svg, "line", { class: "cursor", y1: box.top, y2: box.bottom });
    const move = (to) => {
      event = Math.max(0, Math.min(last, to));
      cursor.setAttribute("x1", x(event));
      cursor.setAttribute("x2", x(event));
      show(event);
    };
    box.svg.setAttribute("tabindex", "0");
    box.svg.addEventListener("pointermove", (at) => {
      const area = box.svg.getBoundingClientRect();
      const pixel = (at.clientX - area.left) * box.width / area.width;
      move((pixel - box.left) / (box.right - box.left) * last);
    });
    box.svg.addEventListener("keydown", (key) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key.key];
      if (step) { key.preventDefault(); move(event + step * last / 200); }
    });
    move(start);
  }

  function fill(prefix, event, rows) {
    readout.replaceChildren();
    element(readout, "caption", {}, `${prefix}after event ${event.toLocaleString("en")}`);
    const body = element(readout, "tbody");
    for (const [colour, name, value] of rows) {
      const row = element(body, "tr", colour === null ? { class: "total" } : {});
      const cell = element(row, "td");
      if (colour !== null) element(cell, "i").style.background = colour;
      cell.append(name);
      element(row, "td", {}, bytesText(value));
    }
  }

  const drawTimeline = () => (shown === 0 ? drawAll() : drawParts(flown[shown - 1]));

  // Histogram ---------------------------------------------------------------------------------

  const sizes = document.getElementById("histogram");
  const HISTOGRAMS = [
    { tab: "requests by size", rows: data.sizes, value: "count", upTo: "to_bytes", axis: "size of the request, up to",
      edge: tickBytes, tick: tickCount, text: (count) => `${countText(count)} requests`, base: 1000 },
    { tab: "bytes by size", rows: data.sizes, value: "bytes", upTo: "to_bytes", axis: "size of the request, up to",
      edge: tickBytes, tick: tickBytes, text: bytesText, base: 1024 },
    { tab: "lifetimes", rows: data.lifetimes, value: "count", upTo: "to_events",
      axis: "events from birth to free, up to", edge: (count) => count.toLocaleString("en"), tick: tickCount,
      text: (count) => `${countText(count)} objects`, base: 1000 },
  ];
  let counted = 0;

  function drawSizes() {
    const { rows, value, upTo, axis, edge, tick, text, base, tab } = HISTOGRAMS[counted];
    const box = frame(sizes, 260, `Histogram: ${tab}`);
    const y = yAxis(box, 1.04 * Math.max(1, ...rows.map((row) => row[value])), tick, base);
    const step = (box.right - box.left) / Math.max(1, rows.length);
    const every = Math.ceil((counted === 2 ? 84 : 60) / step);
    rows.forEach((row, number) => {
      const left = box.left + number * step;
      const bar = node(box.svg, "rect", { x: left + 1, width: Math.max(1, step - 2), y: y(row[value]),
        height: box.bottom - y(row[value]), fill: "var(--live)" });
      node(bar, "title", {}, `up to ${edge(row[upTo])}: ${text(row[value])}`);
      if (number % every === 0) {
        node(box.svg, "text", { x: left + step / 2, y: box.bottom + 18, "text-anchor": "middle" }, edge(row[upTo]));
      }
    });
    node(box.svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 35, "text-anchor": "middle" }, axis);
  }

  const [timelineTabs, sizeTabs] = document.querySelectorAll(".tabs");
  if (flown.length) {
    tabs(timelineTabs, ["all", ...flown.map((timeline) => timeline.title)], shown, (number) => {
      shown = number;
      drawTimeline();
    });
  }
  tabs(sizeTabs, HISTOGRAMS.map((histogram) => histogram.tab), counted, (number) => { counted = number; drawSizes(); });

  function drawEverything() {
    if (flown.length) drawTimeline();
    drawSizes();
  }
  let width = 0;
  new ResizeObserver(() => {
    if (document.body.clientWidth !== width) { width = document.body.clientWidth; drawEverything(); }
  }).observe(document.body);
})();
