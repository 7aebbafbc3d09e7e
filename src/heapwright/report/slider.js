// The slider through time: all maps that are shown go to the same event.

const maps = data.maps.map((packed) => new HeapMap(packed));
const slider = document.getElementById("moment");
let panels = [], moments = [];

// The maps shown, which are drawn at one scale: a square means the same in each.
const drawnAlike = () => panels.map((panel) => panel.map).filter((map) => map.frames);

function slideTo(event) {
  slider.value = lastAtMost(moments, event);
  slide();
}

// The map that the slider's events belong to; `panels` of another trace follow it.
const leading = () => panels[0].map;

function slide() {
  moment = moments[slider.value];
  const peaks = panels.filter((panel) => panel.map.trace === leading().trace && panel.map.peak_event === moment)
    .map((panel) => panel.map.title);
  const text = `after event ${moment.toLocaleString("en")}` + (peaks.length ? `, the peak of ${[...new Set(peaks)].join(" and ")}` : "");
  document.getElementById("moment-text").textContent = text;
  slider.setAttribute("aria-valuetext", text);
  for (const panel of panels) panel.goTo(moment, leading());
  moveCursor(moment);
}

function resetSlider(event) {
  const maps = panels.map((panel) => panel.map).filter((map) => map.trace === leading().trace);
  moments = [...new Set(maps.flatMap((map) => map.events))].sort((a, b) => a - b);
  slider.max = moments.length - 1;
  slideTo(event);
}

if (maps.length) {
  const holder = document.getElementById("panels");
  panels = [0, 1].slice(0, maps.length).map((number) =>
    new Panel(holder, maps, number, () => resetSlider(moment)));
  resetSlider(maps[0].peak_event);
  slider.addEventListener("input", slide);
  const play = document.getElementById("play");
  let playing = 0;
  play.addEventListener("click", () => {
    const stop = () => { clearInterval(playing); playing = 0; play.textContent = "▶"; play.setAttribute("aria-label", "Play through time"); };
    if (playing) return stop();
    if (Number(slider.value) === moments.length - 1) slider.value = 0;
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "Pause");
    playing = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      slide();
      if (Number(slider.value) === moments.length - 1) stop();
    }, 120);
    return null;
  });
  redraws.push(() => panels.forEach((panel) => panel.draw()));
}

let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  for (const redraw of redraws) redraw();
}).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((redraw) => redraw()));
