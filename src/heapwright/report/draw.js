// What the page's scripts share: elements, words for quantities, axes, packed columns.
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

// Round numbers between 0 and `top`, at most about `wanted` of them; of bytes a power of two apart.
function ticks(top, wanted, base) {
  if (top <= 0) return [0];
  if (base === 1024) {
    const step = 2 ** Math.max(0, Math.ceil(Math.log2(top / wanted)));
    return Array.from({ length: Math.floor(top / step) + 1 }, (_, n) => n * step);
  }
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

// Packed columns: see packed.py.
async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function column(bytes, [start, count, width, delta]) {
  const values = new Float64Array(count);
  for (let plane = 0, scale = 1; plane < width; plane += 1, scale *= 256) {
    const from = start + plane * count;
    for (let n = 0; n < count; n += 1) values[n] += bytes[from + n] * scale;
  }
  if (delta) {
    for (let n = 0, sum = 0; n < count; n += 1) {
      sum += values[n] % 2 ? -(values[n] + 1) / 2 : values[n] / 2;
      values[n] = sum;
    }
  }
  return values;
}

function unpackedFrames(bytes, [start, count, cells]) {
  const frames = [];
  let before = new Uint8Array(cells);
  for (let n = 0; n < count; n += 1) {
    const now = bytes.slice(start + n * cells, start + (n + 1) * cells);
    for (let cell = 0; cell < cells; cell += 1) now[cell] += before[cell];
    frames.push(before = now);
  }
  return frames;
}

// The number of the last entry of `sorted` that is at most `value`; 0 if there is none.
function lastAtMost(sorted, value) {
  let low = 0, high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (sorted[middle] <= value) low = middle; else high = middle - 1;
  }
  return low;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const redraws = []; // called when the width or the colours have changed
