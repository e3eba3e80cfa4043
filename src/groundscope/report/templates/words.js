// Word by word: one small SVG per word, drawn once per change of model, direction or scale; a dialog for one word.
(() => {
  "use strict";
  const { page, state, mark, escaped, plot, onChange } = window.groundscope;
  const data = page.words;
  if (!data) return;
  const byId = (id) => document.getElementById(id);
  const [list, search, archs, sorting, slider, status, dialog] =
    ["tiles", "words-search", "words-arch", "words-sort", "words-step", "words-status", "word-dialog"].map(byId);
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 130, HEIGHT = 52;

  const series = () => data.series[state.direction]?.[archs.value];
  const mean = (values) => {
    const known = values.filter((value) => value !== null && value !== undefined);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  const gainAt = (one, word, at) =>
    one.match[word][at] === null || one.mismatch[word][at] === null ? null : one.mismatch[word][at] - one.match[word][at];
  const countAt = (one, word, at) => mean(Object.values(one.counts).map((place) => data.exposures[place][word][at]));
  const written = (value, digits = 2) =>
    value === null ? "–" : (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
  const whole = (value) => (value === null ? "–" : Math.round(value).toLocaleString("en"));

  // ---- tiles: made once, filled again whenever what they show changes
  const element = (name, attributes = {}, parent = null) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    parent?.append(node);
    return node;
  };
  function makeTile(word, index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "tile";
    const head = document.createElement("span");
    head.className = "tile-head";
    const [name, value] = ["tile-word", "tile-value"].map((className) => {
      const span = document.createElement("span");
      span.className = className;
      head.append(span);
      return span;
    });
    name.textContent = word;
    name.title = data.categories[index] ? `${word} (${data.categories[index]})` : word;
    const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    element("line", { class: "frame-line", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }, svg);
    const parts = {
      area: element("polygon", { "fill-opacity": 0.2 }, svg),
      mismatch: element("polyline", { "stroke-dasharray": "3 2" }, svg),
      match: element("polyline", {}, svg),
      cursor: element("line", { class: "cursor", y1: 0, y2: HEIGHT }, svg),
    };
    button.append(head, svg);
    button.addEventListener("click", () => open(index));
    item.append(button);
    return { index, word, item, button, value, ...parts };
  }
  const tiles = data.words.map(makeTile);

  function extent(one) {
    const values = [...one.match, ...one.mismatch].flat().filter((value) => value !== null);
    return [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
  }
  function scales(one) {
    const last = one.steps[one.steps.length - 1] || 1;
    const unit = one.steps.find((step) => step > 0) ?? 1;
    const along = state.scale === "log" ? (step) => Math.log1p(step / unit) / Math.log1p(last / unit) : (step) => step / last;
    const [low, high] = extent(one);
    return { x: (step) => along(step) * WIDTH, y: (value) => 3 + ((high - value) / (high - low || 1)) * (HEIGHT - 5) };
  }
  function fill() {
    const one = series();
    list.hidden = !one;
    if (!one) { status.textContent = "This model was not measured in this direction."; return; }
    const { x, y } = scales(one);
    const colour = mark(archs.value).colour;
    for (const tile of tiles) {
      const points = (grid) => one.steps.map((step, at) => [x(step), grid[tile.index][at]]).filter((point) => point[1] !== null)
        .map(([across, value]) => `${across.toFixed(1)},${y(value).toFixed(1)}`);
      const match = points(one.match), mismatch = points(one.mismatch);
      tile.match.setAttribute("points", match.join(" "));
      tile.mismatch.setAttribute("points", mismatch.join(" "));
      tile.area.setAttribute("points", [...match, ...mismatch.reverse()].join(" "));
      for (const part of [tile.match, tile.mismatch]) part.setAttribute("stroke", colour);
      tile.area.setAttribute("fill", colour);
    }
    point();
  }
  function point() {
    const one = series();
    if (!one) return;
    const at = Number(slider.value);
    const across = scales(one).x(one.steps[at]).toFixed(1);
    for (const tile of tiles) {
      const gain = gainAt(one, tile.index, at);
      tile.value.textContent = written(gain);
      tile.button.setAttribute("aria-label", `${tile.word}, gain ${written(gain)} nats`);
      for (const end of ["x1", "x2"]) tile.cursor.setAttribute(end, across);
    }
    arrange();
  }

  // ---- find and sort
  const ascending = (a, b) => (a === null ? 1 : b === null ? -1 : a - b);
  const descending = (a, b) => (a === null ? 1 : b === null ? -1 : b - a);
  const orders = {
    "gain": (one, at) => (a, b) => descending(gainAt(one, a.index, at), gainAt(one, b.index, at)),
    "gain-up": (one, at) => (a, b) => ascending(gainAt(one, a.index, at), gainAt(one, b.index, at)),
    "count": (one, at) => (a, b) => descending(countAt(one, a.index, at), countAt(one, b.index, at)),
    "category": () => (a, b) => data.categories[a.index].localeCompare(data.categories[b.index]),
    "name": () => () => 0,
  };
  function arrange() {
    const one = series();
    if (!one) return;
    const wanted = search.value.trim().toLowerCase();
    const at = Number(slider.value);
    let found = 0;
    for (const tile of tiles) {
      const hit = [tile.word, data.categories[tile.index]].some((text) => text.toLowerCase().includes(wanted));
      tile.item.hidden = !hit;
      found += hit;
    }
    list.append(...[...tiles].sort((a, b) => orders[sorting.value](one, at)(a, b) || a.index - b.index).map((tile) => tile.item));
    const step = one.steps[at];
    const [low, high] = extent(one).map((value) => value.toFixed(1));
    status.textContent = `${found} of ${tiles.length} words · step ${whole(step)} · vertical axis ${low} to ${high} nats`;
  }

  // ---- one word: every model, every seed
  let current = 0;
  const visible = () => [...list.children].filter((item) => !item.hidden).map((item) => tiles.find((tile) => tile.item === item).index);
  function open(index) {
    current = index;
    if (!dialog.open) dialog.showModal();
    drawWord();
  }
  function drawWord() {
    byId("word-title").textContent = data.words[current];
    byId("word-category").textContent = data.categories[current];
    const traces = [];
    byId("word-facts").replaceChildren();
    const all = data.series[state.direction] ?? {};
    for (const arch of page.archs.map((each) => each.name).filter((name) => state.archs.has(name) && all[name])) {
      const one = all[arch], last = one.steps.length - 1;
      const row = byId("word-facts").insertRow();
      for (const text of [arch, ...[one.match, one.mismatch].map((grid) => written(grid[current][last])),
        written(gainAt(one, current, last)), whole(countAt(one, current, last))]) row.insertCell().textContent = text;
      row.cells[0].className = "text";
      const seeds = Object.entries(one.gain);
      for (const [seed, grid] of seeds) {
        traces.push({
          x: one.steps, y: grid[current], mode: "lines+markers", name: escaped(arch), legendgroup: escaped(arch),
          showlegend: seed === seeds[0][0],
          line: { color: mark(arch).colour, width: 1.75 }, marker: { symbol: mark(arch).symbol, size: 5 },
          text: one.steps.map((step, at) =>
            `<b>${escaped(arch)}</b>, seed ${escaped(seed)}, step ${whole(step)}<br>G ${written(grid[current][at])} nats<br>` +
            `${whole(data.exposures[one.counts[seed]][current][at])} co-occurring chunks`),
          hovertemplate: "%{text}<extra></extra>",
        });
      }
    }
    plot(byId("word-chart"), "word", traces.map(onScale), {
      height: 340, margin: { l: 52, r: 12, t: 10, b: 44 }, hovermode: "closest", showlegend: true,
      legend: { orientation: "h", y: 1.12, x: 0 },
      xaxis: { title: { text: "training step" }, zeroline: false, ...ticks() },
      yaxis: { title: { text: "G, each seed (nats)" }, zeroline: true, zerolinewidth: 1, zerolinecolor: "#8A8A8A" },
    });
  }
  const anyFigure = Object.values(page.figures)[0];
  const onScale = (trace) =>
    state.scale === "log" && anyFigure ? { ...trace, x: trace.x.map(anyFigure.position) } : trace;
  function ticks() {
    const scale = anyFigure?.layout.meta[state.scale];
    return scale ? { tickvals: scale.tickvals, ticktext: scale.steps, range: scale.range, tickangle: 0 } : {};
  }
  function move(by) {
    const order = visible();
    const at = order.indexOf(current);
    if (order.length) open(order[(at + by + order.length) % order.length]);
  }
  byId("word-previous").addEventListener("click", () => move(-1));
  byId("word-next").addEventListener("click", () => move(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => tiles[current].button.focus());

  // ---- controls
  function choose() {
    const one = series();
    if (one) {
      slider.max = one.steps.length - 1;
      slider.value = slider.max;
    }
    fill();
  }
  const names = page.archs.map((arch) => arch.name).filter((name) => Object.values(data.series).some((all) => all[name]));
  archs.append(...names.map((name) => new Option(name, name)));
  archs.addEventListener("change", choose);
  slider.addEventListener("input", point);
  search.addEventListener("input", arrange);
  sorting.addEventListener("change", arrange);
  search.value = "";
  onChange(() => { fill(); if (dialog.open) drawWord(); });
  choose();
})();
