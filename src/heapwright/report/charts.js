// Histograms, and lifetimes against sizes.

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

tabs(document.getElementById("counted"), HISTOGRAMS.map((histogram) => histogram.tab), counted, (number) => {
  counted = number;
  drawHistograms();
});
redraws.push(drawHistograms, drawLifetimes);
