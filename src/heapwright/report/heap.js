// Heap maps: whole heap ─► a stretch of it ─► one page ─► one block.

const ABSENT = 1, EMPTY = 2, STEPS = 16, PAGE = 4096, ROW_BYTES = 256, STRETCH_PAGES = 2048;
const hex = (address) => `0x${address.toString(16)}`;
const events = (count) => `${Math.round(count).toLocaleString("en")} event${count === 1 ? "" : "s"}`;

// One twin's map, unpacked when first shown.
class HeapMap {
  constructor(packed) {
    Object.assign(this, packed);
    this.ready = null;
  }

  load() {
    this.ready ??= unpacked(this.data).then((bytes) => {
      const { frames, ...columns } = this.columns;
      this.frames = unpackedFrames(bytes, frames);
      for (const [name, place] of Object.entries(columns)) this[name] = column(bytes, place);
      this.peakFrame = this.events.indexOf(this.peak_event);
      if (this.row) this.address = this.row.map((row, n) => this.pages[row] * PAGE + this.offset[n]);
    });
    return this.ready;
  }

  frameAt(event) { return lastAtMost(this.events, event); }

  // Blocks that lie on a page, as numbers; null when some may have been left out.
  blocksOn(page) {
    const start = this.pages[page] * PAGE, found = [];
    if (!this.address) return null;
    let n = this.address.length ? lastAtMost(this.address, start) : 0;
    for (; n < this.address.length && this.address[n] < start + PAGE; n += 1) {
      if (this.address[n] + Math.max(1, this.size[n]) > start) found.push(n);
    }
    const whole = found.length === 1 && this.size[found[0]] >= PAGE;
    return this.live[page] <= this.known_live || whole ? found : null;
  }
}

function mix(one, other, share) {
  return one.map((value, n) => Math.round(value + (other[n] - value) * share));
}

// Colours of the levels, read from the style sheet, which knows of light and dark.
function palette() {
  const rgb = (name) => colour(name).match(/[0-9a-f]{2}/gi).map((two) => parseInt(two, 16));
  const [few, half, all] = ["few", "half", "live"].map(rgb);
  const levels = [null, colour("absent"), colour("empty")];
  for (let step = 1; step <= STEPS; step += 1) {
    const share = Math.min(1, step / STEPS / .9); // headers and rounding keep a full page from 1
    levels.push(`rgb(${share < .5 ? mix(few, half, 2 * share) : mix(half, all, 2 * share - 1)})`);
  }
  return levels;
}

// One of the two maps side by side. `view` is what is zoomed to; `selected` an entry of it.
class Panel {
  constructor(holder, maps, chosen, changed) {
    this.maps = maps;
    this.element = element(holder, "div", { class: "panel" });
    const select = element(this.element, "select", { "aria-label": "Manager whose heap is shown" });
    maps.forEach((map, number) => element(select, "option", { value: number }, map.title));
    select.value = chosen;
    select.addEventListener("change", () => { this.choose(Number(select.value)); changed(); });
    this.trail = element(this.element, "nav", { class: "trail", "aria-label": "Zoom" });
    this.canvas = element(this.element, "canvas", { tabindex: 0, role: "application", "aria-describedby": "heap" });
    this.tip = element(this.element, "p", { class: "tip", role: "status" });
    this.details = element(this.element, "dl", { class: "facts block" });
    this.listen();
    this.choose(chosen);
  }

  choose(number) {
    this.map = this.maps[number];
    this.view = { kind: "heap" };
    this.selected = -1;
    const map = this.map;
    map.load().then(() => { if (this.map === map) panels.forEach((panel) => panel.draw()); });
  }

  // The state after `event` of the trace `leader` was replayed from; of another trace, as far into it.
  goTo(event, leader) {
    if (this.map.trace === leader.trace) this.event = event;
    else if (event === leader.peak_event) this.event = this.map.peak_event;
    else this.event = Math.round(event / leader.trace_events * this.map.trace_events);
    const frame = this.map.frameAt(event);
    if (frame === this.frame) return;
    this.frame = frame;
    if (this.map.frames) this.draw();
  }

  get atPeak() { return this.frame === this.map.peakFrame && this.map.live; }

  zoom(view, selected = -1) {
    this.view = view;
    this.selected = selected;
    this.draw();
    this.say();
  }

  // Zoom into the selected entry.
  into() {
    const at = this.selected, { kind } = this.view;
    if (at < 0) return;
    if (kind === "heap" || kind === "stretch") {
      const page = this.first + at * this.group;
      if (!this.atPeak) {
        this.say("Blocks are known at this manager's peak: choose it in the line above.");
      } else if (this.group > 1) {
        const middle = page + this.group / 2;
        const from = Math.max(0, Math.min(this.map.pages.length - STRETCH_PAGES, Math.floor(middle - STRETCH_PAGES / 2)));
        this.zoom({ kind: "stretch", from, to: Math.min(this.map.pages.length, from + STRETCH_PAGES) }, page - from);
      } else if (this.map.live[page] || this.map.blocksOn(page)?.length) {
        this.zoom({ kind: "page", page, above: this.view }, 0);
      }
    } else if (kind === "page" && this.blocks?.length) {
      this.zoom({ kind: "block", block: this.blocks[at], page: this.view.page, above: this.view }, 0);
    }
  }

  out() {
    const { kind, above, page, block } = this.view;
    if (kind === "block") this.zoom(above, this.map.blocksOn(page).indexOf(block));
    else if (kind === "page") this.zoom(above, page - (above.from ?? 0));
    else if (kind === "stretch") this.zoom({ kind: "heap" });
  }

  draw() {
    if (!this.map.frames) return;
    this.frame = this.map.frameAt(this.event ?? this.map.peak_event);
    if (!this.atPeak && this.view.kind !== "heap") { this.view = { kind: "heap" }; this.selected = -1; }
    this.tip.hidden = true;
    this.unring();
    this.details.replaceChildren();
    this.drawTrail();
    ({ heap: () => this.drawPages(0, this.map.pages.length), stretch: () => this.drawPages(this.view.from, this.view.to),
      page: () => this.drawPage(), block: () => this.drawBlock() })[this.view.kind]();
  }

  drawTrail() {
    const { kind, page, above, block } = this.view, map = this.map;
    const steps = [["whole heap", () => this.zoom({ kind: "heap" })]];
    const stretch = kind === "stretch" ? this.view : above?.kind === "stretch" ? above : above?.above;
    if (stretch?.kind === "stretch") steps.push([`${stretch.to - stretch.from} pages`, () => this.zoom(stretch)]);
    if (page !== undefined) steps.push([`page ${hex(map.pages[page] * PAGE)}`, () => this.zoom(kind === "block" ? above : this.view, 0)]);
    if (block !== undefined) steps.push([`block ${hex(map.address[block])}`, () => {}]);
    this.trail.replaceChildren();
    steps.forEach(([name, go], n) => {
      if (n === steps.length - 1) element(this.trail, "b", { "aria-current": "location" }, name);
      else {
        element(this.trail, "button", { type: "button" }, name).addEventListener("click", () => { go(); this.canvas.focus(); });
        this.trail.append(" › ");
      }
    });
    if (this.atPeak && kind !== "block") { // a finger cannot hit the same small square twice
      element(this.trail, "button", { type: "button", class: "inside" }, "look inside")
        .addEventListener("click", () => this.into());
    }
    if (map.left_out_pages) element(this.trail, "span", { class: "chip" }, `${bytesText(map.left_out_pages * PAGE)} never resident`);
    if (this.atPeak) element(this.trail, "span", { class: "chip" }, "at its peak");
    else if (map.live) {
      element(this.trail, "button", { type: "button", class: "peak" }, "to its peak")
        .addEventListener("click", () => slideTo(map.trace === leading().trace ? map.peak_event : leading().peak_event));
    }
  }

  surface(height) {
    const width = Math.max(240, this.element.clientWidth), ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, width, height);
    return { pen, width };
  }

  // Pages [from, to) as squares, several to one where they are too many.
  drawPages(from, to) {
    const { map } = this, whole = this.view.kind === "heap";
    const width = Math.max(240, this.element.clientWidth), tallest = 360;
    const alike = whole ? drawnAlike() : [];
    const most = Math.max(to - from, ...alike.map((other) => other.pages.length));
    let group = whole ? Math.max(...alike.map((other) => other.pages_per_cell)) : 1, side = 14;
    const fits = () => Math.ceil(Math.ceil(most / group) / Math.floor(width / side)) * side <= tallest;
    while (!fits()) { if (side > 4) side -= 1; else { group *= 2; side = 14; } }
    Object.assign(this, { first: from, group, side, columns: Math.floor(width / side), count: Math.ceil((to - from) / group) });
    const { pen } = this.surface(Math.ceil(this.count / this.columns) * side);
    const colours = palette(), gap = side > 5 ? 1 : .5;
    for (let cell = 0; cell < this.count; cell += 1) {
      const level = this.level(cell);
      if (level === 0) continue;
      pen.fillStyle = colours[level];
      pen.fillRect((cell % this.columns) * side, Math.floor(cell / this.columns) * side, side - gap, side - gap);
    }
    this.canvas.setAttribute("aria-label", `Heap of ${map.title} after event ${map.events[this.frame].toLocaleString("en")}: ` +
      `${this.count} squares of ${group} page${group > 1 ? "s" : ""}. Arrow keys move, Enter looks inside, Escape goes back.`);
    if (this.selected >= this.count) this.selected = -1;
    this.ring();
  }

  // The level of a square: the mean of its resident pages.
  level(cell) {
    const { map, group } = this, first = this.first + cell * group;
    if (this.atPeak) {
      let live = 0, resident = 0, absent = 0;
      for (let page = first; page < Math.min(first + group, map.pages.length); page += 1) {
        if (map.state[page] === EMPTY) { resident += 1; live += map.live[page]; }
        absent ||= map.state[page] === ABSENT;
      }
      return resident ? EMPTY + Math.ceil(live / resident / (PAGE / STEPS)) : Number(absent);
    }
    const levels = map.frames[this.frame], per = map.pages_per_cell;
    let sum = 0, resident = 0, absent = 0;
    for (let n = first / per; n < Math.min((first + group) / per, levels.length); n += 1) {
      if (levels[n] >= EMPTY) { resident += 1; sum += levels[n] - EMPTY; }
      absent ||= levels[n] === ABSENT;
    }
    return resident ? EMPTY + Math.ceil(sum / resident) : Number(absent);
  }

  // Rectangles of bytes [start, end) of a page, a row of ROW_BYTES each; `width` pixels a row.
  rectangles(start, end, width, height) {
    const found = [];
    for (let at = start; at < end;) {
      const row = Math.floor(at / ROW_BYTES), past = Math.min(end, (row + 1) * ROW_BYTES);
      found.push([(at - row * ROW_BYTES) / ROW_BYTES * width, row * height, (past - at) / ROW_BYTES * width, height]);
      at = past;
    }
    return found;
  }

  drawPage() {
    const { map } = this, { page } = this.view, height = 21, base = map.pages[page] * PAGE;
    const { pen, width } = this.surface(PAGE / ROW_BYTES * height);
    this.blocks = map.blocksOn(page);
    pen.fillStyle = colour(map.state[page] === EMPTY ? "hole" : "absent");
    for (const [x, y, wide, high] of this.rectangles(0, PAGE, width, height)) pen.fillRect(x, y, wide, high - 2);
    this.places = (this.blocks ?? []).map((n) =>
      this.rectangles(Math.max(0, map.address[n] - base), Math.min(PAGE, map.address[n] + Math.max(1, map.size[n]) - base), width, height));
    const all = palette();
    this.places.forEach((places, n) => {
      pen.fillStyle = all[EMPTY + STEPS];
      pen.globalAlpha = .35 + .65 * Math.log1p(map.age[this.blocks[n]]) / Math.log1p(map.peak_event);
      for (const [x, y, wide, high] of places) pen.fillRect(x, y, Math.max(1, wide - 1), high - 2);
    });
    pen.globalAlpha = 1;
    const held = `${map.live[page].toLocaleString("en")} bytes live` + (map.state[page] === EMPTY
      ? `, ${map.free[page].toLocaleString("en")} free, ` +
        `${(PAGE - map.live[page] - map.free[page]).toLocaleString("en")} rounding, headers and caches`
      : "; the page is not resident");
    this.canvas.setAttribute("aria-label", `Page ${hex(base)}: ${held}`);
    const rows = [["page", `${hex(base)}, ${ROW_BYTES} bytes a row`], ["holds", held]];
    if (this.blocks) rows.push(["blocks", `${this.blocks.length}; the stronger the colour, the older`]);
    else rows.push(["blocks", "left out: this file has room for those of emptier pages only"]);
    this.list(rows);
    if (this.blocks && this.selected >= this.blocks.length) this.selected = this.blocks.length - 1;
    this.ring();
  }

  drawBlock() {
    const { map } = this, { block } = this.view, start = map.address[block], size = Math.max(1, map.size[block]);
    const around = Math.max(64, Math.min(size, PAGE) / 2), low = start - around, span = size + 2 * around;
    const { pen, width } = this.surface(84);
    const x = (address) => (address - low) / span * width;
    pen.fillStyle = colour("hole");
    pen.fillRect(0, 12, width, 48);
    pen.fillStyle = colour("live");
    for (let n = Math.max(0, block - 64); n < Math.min(map.address.length, block + 65); n += 1) {
      const left = Math.max(0, x(map.address[n])), right = Math.min(width, x(map.address[n] + map.size[n]));
      pen.globalAlpha = n === block ? 1 : .3;
      if (right > left) pen.fillRect(left, 12, Math.max(1, right - left - 1), 48);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour("soft");
    pen.font = "12px system-ui, sans-serif";
    pen.fillText(hex(start), x(start), 76);
    this.canvas.setAttribute("aria-label", this.blockWords(block));
    const rows = [["size", `${map.size[block].toLocaleString("en")} bytes`], ["age", events(map.age[block])],
      ["allocated", `by event ${(map.peak_event - map.age[block]).toLocaleString("en")}`],
      ["call site", map.sites[map.site[block]] || "not recorded"], ["address", `${hex(start)} to ${hex(start + size - 1)}`]];
    const page = this.view.page, alone = map.blocksOn(page);
    if (alone) rows.push(["its page", `${alone.length - 1} other blocks; ${map.free[page].toLocaleString("en")} bytes free`]);
    this.list(rows);
  }

  list(rows) {
    for (const [name, value] of rows) {
      const row = element(this.details, "div");
      element(row, "dt", {}, name);
      element(row, "dd", {}, value);
    }
  }

  blockWords(block) {
    const { map } = this, site = map.sites[map.site[block]];
    return `${map.size[block].toLocaleString("en")} bytes, alive for ${events(map.age[block])}` +
      (site ? `, from ${site}` : "");
  }

  words() {
    const { map, selected, group } = this, { kind } = this.view;
    if (kind === "block") return ""; // the list below says it: nothing lies over it
    if (kind === "page") return this.blocks?.length ? this.blockWords(this.blocks[selected]) : "";
    const page = this.first + selected * group, past = Math.min(page + group, map.pages.length), level = this.level(selected);
    const where = `${past - page > 1 ? `${past - page} pages from ` : "page "}${hex(map.pages[page] * PAGE)}`;
    if (level === 0) return `${where}: not mapped`;
    if (level === ABSENT) return `${where}: mapped, not resident`;
    if (level === EMPTY) return `${where}: resident, nothing live on it`;
    if (!this.atPeak) return `${where}: about ${Math.round((level - EMPTY) / STEPS * 100)} % live`;
    if (past - page > 1) return `${where}: ${Math.round((level - EMPTY) / STEPS * 100)} % live`;
    const blocks = map.blocksOn(page);
    return `${where}: ${map.live[page].toLocaleString("en")} of ${PAGE.toLocaleString("en")} bytes live` +
      (blocks ? ` in ${blocks.length} block${blocks.length === 1 ? "" : "s"}` : "") +
      `, ${map.free[page].toLocaleString("en")} free`;
  }

  // Where the selected entry is drawn: rectangles.
  outline() {
    if (this.selected < 0 || this.view.kind === "block") return [];
    if (this.view.kind === "page") return this.places[this.selected] ?? [];
    const { side, columns, selected } = this;
    return [[(selected % columns) * side, Math.floor(selected / columns) * side, side, side]];
  }

  // The frame around the selected entry: an element of its own, so that nothing is drawn again.
  ring() {
    this.unring();
    for (const [x, y, wide, high] of this.outline()) {
      const ring = element(this.element, "i", { class: "ring" });
      Object.assign(ring.style, { left: `${this.canvas.offsetLeft + x - 1}px`, top: `${this.canvas.offsetTop + y - 1}px`,
        width: `${wide + 1}px`, height: `${high + 1}px` });
    }
  }

  unring() { for (const old of this.element.querySelectorAll(".ring")) old.remove(); }

  say(text = null) {
    const words = text ?? (this.selected >= 0 ? this.words() : "");
    this.tip.hidden = !words;
    if (!words) return;
    this.tip.textContent = words;
    const [x, y, wide, high] = this.outline().at(-1) ?? [0, 0, 0, 0];
    const room = this.element.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(room, x + wide / 2 - this.tip.offsetWidth / 2))}px`;
    this.tip.style.top = `${this.canvas.offsetTop + y + high + 6}px`;
  }

  select(entry) {
    if (entry === this.selected && !this.tip.hidden) return;
    this.selected = entry;
    this.ring();
    this.say();
  }

  // The entry under the pointer; -1 for none.
  under(at) {
    const area = this.canvas.getBoundingClientRect(), x = at.clientX - area.left, y = at.clientY - area.top;
    if (this.view.kind === "block") return -1;
    if (this.view.kind === "page") {
      return this.places.findIndex((places) => places.some(([left, top, wide, high]) =>
        x >= left && x < left + wide && y >= top && y < top + high));
    }
    const cell = Math.floor(y / this.side) * this.columns + Math.floor(x / this.side);
    return x < this.columns * this.side && cell < this.count ? cell : -1;
  }

  listen() {
    const { canvas } = this;
    let touched = false; // the first tap reads, the second one looks inside
    canvas.addEventListener("pointermove", (at) => {
      if (at.pointerType !== "touch" && this.map.frames) this.select(this.under(at));
    });
    canvas.addEventListener("pointerleave", (at) => {
      if (at.pointerType === "touch") return;
      this.tip.hidden = true;
      if (!canvas.matches(":focus-visible")) this.unring();
    });
    canvas.addEventListener("pointerdown", (at) => { touched = at.pointerType === "touch"; });
    canvas.addEventListener("click", (at) => {
      const entry = this.under(at), known = entry === this.selected && !this.tip.hidden;
      this.select(entry);
      if (entry >= 0 && (known || !touched)) this.into();
    });
    canvas.addEventListener("focus", () => {
      if (canvas.matches(":focus-visible") && this.map.frames) this.select(Math.max(0, this.selected));
    });
    canvas.addEventListener("blur", () => { this.tip.hidden = true; this.unring(); });
    canvas.addEventListener("keydown", (key) => {
      const pages = this.view.kind === "heap" || this.view.kind === "stretch";
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: pages ? -this.columns : -1, ArrowDown: pages ? this.columns : 1 }[key.key];
      const count = pages ? this.count : this.blocks?.length ?? 0;
      if (step && count) this.select(Math.max(0, Math.min(count - 1, this.selected + step)));
      else if (key.key === "Enter") this.into();
      else if (key.key === "Escape") this.out();
      else return;
      key.preventDefault();
    });
  }
}
