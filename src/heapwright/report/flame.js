// The flame graph: callers above, what they called below, as wide as their bytes.

const FLAME_ROW = matchMedia("(pointer: coarse)").matches ? 34 : 24; // pixels; a finger needs more
const FLAME_LEAST = 2; // pixels; what is narrower is not drawn
const FLAME_NAMED = 20; // pixels; what is narrower has no name in it
const FLAME_VALUES = [["peak", "At the peak"], ["end", "At the end"], ["allocated", "Allocated"],
  ["leaked", "Leaked"]];

class FlameGraph {
  constructor(holder, flame) {
    this.flame = flame;
    this.children = flame.parent.map(() => []);
    flame.parent.forEach((above, n) => { if (above >= 0) this.children[above].push(n); });
    this.depth = [];
    flame.parent.forEach((above, n) => { this.depth.push(above < 0 ? 0 : this.depth[above] + 1); });
    this.root = this.chosen = 0;
    this.tools = element(holder, "div", { class: "flame-tools" });
    this.values = element(this.tools, "div", { class: "tabs", role: "group", "aria-label": "Which bytes to show" });
    const shown = FLAME_VALUES.filter(([name]) => flame.values[name][0] > 0);
    this.value = shown.length ? shown[0][0] : "peak";
    tabs(this.values, shown.map(([, title]) => title), 0, (n) => this.show(shown[n][0]));
    const search = element(this.tools, "label", { class: "flame-search" }, "Find ");
    this.input = element(search, "input", { type: "search", spellcheck: "false", autocomplete: "off" });
    this.input.addEventListener("input", () => this.find());
    this.trail = element(holder, "div", { class: "trail" });
    this.box = element(holder, "div", { class: "flame", role: "tree", "aria-label": "Flame graph: callers above, callees below" });
    this.box.style.setProperty("--row", `${FLAME_ROW - 1}px`);
    this.said = element(holder, "div", { class: "flame-said", "aria-live": "polite" });
    this.box.addEventListener("click", (event) => this.press(event));
    this.box.addEventListener("pointerover", (event) => this.point(event));
    this.box.addEventListener("focusin", (event) => this.point(event));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  name(n) { return this.flame.names[this.flame.name[n]]; }

  bytes(n) { return this.flame.values[this.value][n]; }

  // Children with any of the value, the largest first.
  below(n) {
    return this.children[n].filter((child) => this.bytes(child) > 0)
      .sort((one, other) => this.bytes(other) - this.bytes(one));
  }

  show(value) {
    this.value = value;
    while (this.bytes(this.root) === 0 && this.root > 0) this.root = this.flame.parent[this.root];
    this.chosen = this.root;
    this.draw();
  }

  callers(n) {
    const found = [];
    for (let at = n; at >= 0; at = this.flame.parent[at]) found.unshift(at);
    return found;
  }

  draw() {
    this.trail.replaceChildren();
    const callers = this.callers(this.root);
    for (const n of callers) {
      if (n === this.root) element(this.trail, "b", {}, this.name(n));
      else element(this.trail, "button", { type: "button" }, this.name(n)).addEventListener("click", () => this.zoom(n));
    }
    this.trail.hidden = callers.length < 2;
    this.box.replaceChildren();
    const width = this.box.clientWidth || 1000;
    let deepest = 0;
    const place = (n, left, share) => {
      const level = this.depth[n] - this.depth[this.root];
      deepest = Math.max(deepest, level);
      const label = `${this.name(n)}, ${bytesText(this.bytes(n))}, ${this.share(n)}`;
      const made = element(this.box, "div", {
        role: "treeitem", "aria-level": level + 1, "aria-label": label, tabindex: n === this.chosen ? 0 : -1,
        "data-node": n, style: `left:${left * 100}%;width:${share * 100}%;top:${level * FLAME_ROW}px;--h:${hue(this.name(n))}`,
      }, share * width < FLAME_NAMED ? "" : this.name(n));
      if (share * width < FLAME_NAMED) made.classList.add("narrow");
      if (n === 0) made.classList.add("whole");
      let at = left;
      for (const child of this.below(n)) {
        const part = share * this.bytes(child) / Math.max(1, this.bytes(n));
        if (part * width >= FLAME_LEAST) place(child, at, part);
        at += part;
      }
    };
    place(this.root, 0, 1);
    this.box.style.height = `${(deepest + 1) * FLAME_ROW}px`;
    this.find();
  }

  share(n) {
    const share = 100 * this.bytes(n) / Math.max(1, this.bytes(0));
    return `${share >= 9.95 ? Math.round(share) : digits(share)} %`;
  }

  item(n) { return this.box.querySelector(`[data-node="${n}"]`); }

  at(event) {
    const item = event.target.closest("[data-node]");
    return item ? Number(item.dataset.node) : null;
  }

  zoom(n) {
    this.root = this.chosen = n;
    this.draw();
    this.item(n).focus({ preventScroll: true });
  }

  press(event) {
    const n = this.at(event);
    if (n !== null) this.zoom(n === this.root && n > 0 ? this.flame.parent[n] : n);
  }

  point(event) {
    const n = this.at(event);
    if (n !== null) this.tell(n);
  }

  key(event) {
    const n = this.chosen, above = this.flame.parent[n];
    const beside = above < 0 ? [n] : this.below(above).filter((other) => this.item(other));
    const next = {
      ArrowDown: () => this.below(n).find((child) => this.item(child)),
      ArrowUp: () => (n === this.root ? undefined : above),
      ArrowLeft: () => beside[beside.indexOf(n) - 1],
      ArrowRight: () => beside[beside.indexOf(n) + 1],
      Home: () => this.root,
    }[event.key];
    if (next) {
      const to = next();
      if (to !== undefined && to >= 0) this.choose(to);
    } else if (event.key === "Enter" || event.key === " ") this.zoom(n);
    else if (event.key === "Escape") this.zoom(this.root > 0 ? this.flame.parent[this.root] : 0);
    else return;
    event.preventDefault();
  }

  choose(n) {
    this.item(this.chosen)?.setAttribute("tabindex", -1);
    this.chosen = n;
    const item = this.item(n);
    item.setAttribute("tabindex", 0);
    item.focus();
  }

  // What is pointed at: its bytes, its own, and the whole stack.
  tell(n) {
    const own = this.bytes(n) - this.children[n].reduce((sum, child) => sum + this.bytes(child), 0);
    this.said.replaceChildren();
    const line = element(this.said, "p");
    element(line, "b", {}, this.name(n));
    const itself = own > 0 && own < this.bytes(n) ? `, ${bytesText(own)} of it its own` : "";
    line.append(` ${bytesText(this.bytes(n))} (${this.share(n)})${itself}`);
    const stack = this.callers(n).slice(1, -1).reverse();
    if (stack.length) element(this.said, "p", { class: "hint" }, `called by ${stack.map((at) => this.name(at)).join(" < ")}`);
  }

  find() {
    const wanted = this.input.value.trim().toLowerCase();
    let covered = 0;
    for (const item of this.box.children) {
      const n = Number(item.dataset.node);
      item.classList.toggle("found", wanted !== "" && this.name(n).toLowerCase().includes(wanted));
    }
    if (!wanted) {
      this.tell(this.chosen);
      return;
    }
    const within = this.flame.parent.map(() => false);
    this.flame.parent.forEach((above, n) => {
      const already = above >= 0 && within[above];
      within[n] = already || this.name(n).toLowerCase().includes(wanted);
      if (within[n] && !already) covered += this.bytes(n);
    });
    this.said.replaceChildren();
    const share = 100 * covered / Math.max(1, this.bytes(0));
    element(this.said, "p", {}, `${bytesText(covered)} (${share >= 9.95 ? Math.round(share) : digits(share)} %) go through what is marked.`);
  }
}

// A hue by the name, so that one function looks the same everywhere; of warm and cool ones.
function hue(name) {
  let hash = 7;
  for (const letter of name.replace(/ \(.*/, "")) hash = (hash * 31 + letter.codePointAt(0)) % 9973;
  return 15 + hash % 210;
}

for (const [n, flame] of (data.flames ?? []).entries()) {
  const graph = new FlameGraph(document.querySelectorAll(".flames .flame-graph")[n], flame);
  let width = graph.box.clientWidth;
  new ResizeObserver(() => {
    if (graph.box.clientWidth !== width) { width = graph.box.clientWidth; graph.draw(); }
  }).observe(graph.box);
}
