// State of the page, its controls, and the figures over training steps.
// A figure's traces say in `meta` what they show; a trace is visible when its meta agrees with the state.
window.groundscope = (() => {
  "use strict";
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const state = {
    archs: new Set(page.archs.map((arch) => arch.name)),
    direction: page.directions[0],
    measure: "log",
    scale: "log",
  };
  const NARROW = 520; // px; below, names at the ends of lines would take the lines' room
  const listeners = [];
  const charts = [];

  const mark = (arch) => page.archs.find((one) => one.name === arch);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // ---- looks: Plotly draws with attributes, so it is told the colours of the page's theme
  const axisLook = () => ({
    "gridcolor": css("--grid"), "linecolor": css("--soft"), "tickcolor": css("--soft"),
    "showline": true, "ticks": "outside", "ticklen": 4, "linewidth": 1, "title.font.size": 12.5,
  });
  function look(layout) {
    const changes = {
      "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
      "font.color": css("--ink"), "font.family": css("--sans"), "font.size": 12.5,
      "hoverlabel.bgcolor": css("--raised"), "hoverlabel.bordercolor": css("--line"),
      "hoverlabel.font.color": css("--ink"), "hoverlabel.font.family": css("--sans"), "hoverlabel.align": "left",
    };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key)))
      for (const [key, value] of Object.entries(axisLook())) changes[`${axis}.${key}`] = value;
    if (layout.xaxis2) changes["xaxis2.showgrid"] = false;
    return changes;
  }
  function looking(layout) {
    const whole = structuredClone(layout);
    for (const [path, value] of Object.entries(look(layout))) {
      const keys = path.split(".");
      const last = keys.pop();
      keys.reduce((node, key) => (node[key] ??= {}), whole)[last] = value;
    }
    return whole;
  }
  const options = { responsive: true, displayModeBar: false, displaylogo: false, doubleClick: "reset" };

  // Draw into `place`; the first time, add a button that saves the drawing.
  function plot(place, name, traces, layout) {
    Plotly.react(place, traces, looking(layout), options);
    if (place.querySelector(".save")) return;
    const save = document.createElement("button");
    Object.assign(save, { type: "button", className: "save", textContent: "SVG", title: "Save this figure as SVG" });
    save.addEventListener("click", () => Plotly.downloadImage(place, { format: "svg", filename: name }));
    place.append(save);
  }

  // ---- figures
  const agrees = (meta, width) =>
    (!meta.arch || state.archs.has(meta.arch)) &&
    (!meta.direction || meta.direction === state.direction) &&
    (!meta.measure || meta.measure === state.measure) &&
    (!meta.label || width >= NARROW || !meta.arch);
  const position = (figure, step) => (state.scale === "log" ? figure.position(step) : step);

  function shown(figure, width) {
    return figure.data.map((trace) => ({
      ...trace,
      visible: agrees(trace.meta ?? {}, width),
      x: trace.customdata && figure.layout.meta ? trace.customdata.map((step) => position(figure, step)) : trace.x,
    }));
  }
  // The ticks whose labels have room in so many pixels: the ends before what lies between them.
  function roomy({ tickvals, range }, labels, pixels) {
    const place = (at) => ((tickvals[at] - range[0]) / (range[1] - range[0])) * pixels;
    const half = (at) => 3.8 * labels[at].length + 3;
    const last = tickvals.length - 1, kept = [];
    for (const at of new Set([0, last, ...tickvals.keys()]))
      if (kept.every((other) => Math.abs(place(at) - place(other)) >= half(at) + half(other))) kept.push(at);
    return kept.sort((a, b) => a - b);
  }
  function laidOut(figure, width) {
    const layout = structuredClone(figure.layout);
    if (width < NARROW) layout.margin.r = layout.margin.r > 100 ? 14 : layout.margin.r;
    const pixels = width - layout.margin.l - layout.margin.r;
    const scale = layout.meta?.[state.scale]; // figures that are not over steps have none
    if (scale) for (const [axis, labels] of [["xaxis", scale.steps], ["xaxis2", scale.tokens]]) {
      if (!layout[axis]) continue;
      const kept = roomy(scale, labels, pixels);
      Object.assign(layout[axis], { tickvals: kept.map((at) => scale.tickvals[at]), ticktext: kept.map((at) => labels[at]), range: scale.range });
    }
    return layout;
  }
  function draw(chart) {
    const width = chart.place.clientWidth;
    if (!width) return; // hidden with its model; drawn when it comes back
    chart.narrow = width < NARROW;
    plot(chart.place, chart.name, shown(chart.figure, width), laidOut(chart.figure, width));
  }
  function addFigures() {
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = page.figures[place.dataset.figure];
      const unit = figure.layout.meta?.log.unit;
      figure.position = (step) => Math.log10(1 + step / unit);
      charts.push({ name: place.dataset.figure, place, figure, narrow: null });
    }
    new ResizeObserver(() => {
      for (const chart of charts) {
        const width = chart.place.clientWidth;
        if (width && (chart.narrow === null || chart.narrow !== width < NARROW)) draw(chart);
      }
    }).observe(document.querySelector("main"));
  }

  // ---- state
  function changed() {
    for (const facet of document.querySelectorAll(".facet[data-arch]"))
      facet.hidden = !state.archs.has(facet.dataset.arch);
    charts.forEach(draw);
    listeners.forEach((listener) => listener());
  }
  function addControls() {
    document.addEventListener("change", (event) => {
      const { name, value, checked } = event.target;
      if (name === "arch") state.archs[checked ? "add" : "delete"](value);
      else if (["direction", "measure", "scale"].includes(name)) state[name] = value;
      else return;
      changed();
    });
    const controls = document.getElementById("controls");
    if (controls && matchMedia("(max-width: 62rem)").matches) controls.open = false;
    document.querySelectorAll(".controls form").forEach((form) => form.reset()); // a reload forgets old choices
    document.querySelectorAll('[name="measure"]').forEach((input) => (input.checked = input.defaultChecked));
  }

  // ---- theme: the reader's system decides until the reader does
  function addTheme() {
    const root = document.documentElement;
    const system = matchMedia("(prefers-color-scheme: dark)");
    const button = document.getElementById("theme");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const show = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      charts.forEach((chart) => chart.narrow !== null && Plotly.relayout(chart.place, look(chart.figure.layout)));
      listeners.forEach((listener) => listener());
    };
    button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; show(); });
    system.addEventListener("change", show);
    button.textContent = isDark() ? "Light" : "Dark";

    let before; // paper is white, and as wide as paper
    const refit = () => document.querySelectorAll(".js-plotly-plot").forEach((place) => Plotly.relayout(place, { width: place.clientWidth }));
    addEventListener("beforeprint", () => {
      before = root.dataset.theme;
      root.dataset.theme = "light";
      root.classList.add("printing");
      show();
      refit();
    });
    addEventListener("afterprint", () => {
      if (before) root.dataset.theme = before; else delete root.dataset.theme;
      root.classList.remove("printing");
      show();
      charts.forEach(draw);
    });
  }

  // ---- where the reader is
  function addContents() {
    const links = new Map([...document.querySelectorAll(".rail nav a")].map((link) => [link.hash.slice(1), link]));
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    document.querySelectorAll("main > section").forEach((section) => observer.observe(section));
  }

  addFigures();
  addControls();
  addTheme();
  addContents();
  return { page, state, mark, escaped, plot, onChange: (listener) => listeners.push(listener) };
})();
