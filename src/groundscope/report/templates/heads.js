// The saliency map of every head in one grid, for one model and checkpoint.
(() => {
  "use strict";
  const { page, mark, escaped, plot, onChange } = window.groundscope;
  const data = page.headMaps;
  if (!data || !document.getElementById("head-maps")) return;
  const [arch, slider, readout, place] = ["arch", "step", "readout", "chart"]
    .map((part) => document.getElementById(`head-maps-${part}`));
  const scale = () => document.querySelector('[name="head-scale"]:checked').value;
  const names = Object.keys(data);
  const triangle = (map) => map.map((row, query) => row.concat(Array(map.length - 1 - query).fill(null)));

  // One large matrix: maps in rows of a layer's heads, an empty line between them.
  function tiled(one, at, byHead) {
    const layers = [...new Set(one.layers)];
    const size = one.length, step = size + 1;
    const most = Math.max(...layers.map((layer) => one.layers.filter((each) => each === layer).length));
    const z = Array.from({ length: layers.length * step }, () => Array(most * step).fill(null));
    const text = z.map((row) => row.map(() => ""));
    one.heads.forEach((name, index) => {
      const map = triangle(one.maps[at][index]);
      const own = Math.max(...map.flat().filter((value) => value !== null)) || 1;
      const layer = layers.indexOf(one.layers[index]);
      const head = index - one.layers.indexOf(one.layers[index]);
      map.forEach((row, query) => row.forEach((value, key) => {
        if (value === null) return;
        z[layer * step + query][head * step + key] = value / (byHead ? own : 1);
        text[layer * step + query][head * step + key] =
          `<b>${name}</b><br>${escaped(one.tokens[key] ?? key)} → ${escaped(one.tokens[query] ?? query)}<br>${(value * one.unit).toPrecision(3)} nats`;
      }));
    });
    return { z, text, layers, most, step, size };
  }
  function veil(colour, opacity) {
    const [red, green, blue] = [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
    return `rgba(${red},${green},${blue},${opacity})`;
  }
  function draw() {
    const one = data[arch.value], at = Number(slider.value), byHead = scale() === "head";
    const { z, text, layers, most, step, size } = tiled(one, at, byHead);
    const colour = mark(arch.value).colour, middle = (size - 1) / 2;
    const top = byHead ? 1 : Math.max(1e-9, ...one.maps[at].flat(2));
    const cell = Math.min(14, Math.max(3, Math.floor((place.clientWidth - 60) / (most * step))));
    plot(place, "heads", [{
      type: "heatmap", z, text, zmin: 0, zmax: top, showscale: false, hoverongaps: false,
      hovertemplate: "%{text}<extra></extra>",
      colorscale: [[0, veil(colour, 0.06)], [0.3, veil(colour, 0.45)], [1, colour]],
    }], {
      height: cell * step * layers.length + 40, margin: { l: 40, r: 8, t: 24, b: 4 },
      xaxis: {
        side: "top", zeroline: false, showgrid: false, constrain: "domain", range: [-1, most * step - 0.5],
        tickvals: Array.from({ length: most }, (_, head) => head * step + middle), ticktext: Array.from({ length: most }, (_, head) => `H${head}`),
      },
      yaxis: {
        zeroline: false, showgrid: false, range: [layers.length * step - 0.5, -1],
        tickvals: layers.map((_, index) => index * step + middle), ticktext: layers.map((layer) => `L${layer}`),
      },
    });
    readout.textContent =
      `step ${one.steps[at].toLocaleString("en")}, seed ${one.seed}: ${one.tokens.join(" ")} (one of ${one.prompts} words in this frame)`;
  }
  function choose() {
    slider.max = data[arch.value].steps.length - 1;
    slider.value = slider.max;
    draw();
  }
  arch.append(...names.map((name) => new Option(name, name)));
  arch.addEventListener("change", choose);
  slider.addEventListener("input", draw);
  document.querySelectorAll('[name="head-scale"]').forEach((input) => input.addEventListener("change", draw));
  onChange(draw);
  choose();
})();
