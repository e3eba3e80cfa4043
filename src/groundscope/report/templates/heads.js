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
  const unpacked = (map) => (map.values ??= Uint8Array.from(atob(map.bytes), (character) => character.charCodeAt(0)));

  // One large matrix: maps in rows of a layer's heads, an empty line between them.
  function tiled(one, at, byHead) {
    const layers = [...new Set(one.layers)];
    const size = one.length, step = size + 1;
    const across = Math.max(...layers.map((layer) => one.layers.filter((each) => each === layer).length));
    const z = Array.from({ length: layers.length * step }, () => Array(across * step).fill(null));
    const text = z.map((row) => row.map(() => ""));
    const bytes = unpacked(one.maps[at]), triangle = (size * step) / 2;
    one.heads.forEach((name, index) => {
      const most = one.maps[at].nats[index];
      const layer = layers.indexOf(one.layers[index]);
      const head = index - one.layers.indexOf(one.layers[index]);
      for (let query = 0, entry = index * triangle; query < size; query++) for (let key = 0; key <= query; key++, entry++) {
        const share = bytes[entry] / 255;
        z[layer * step + query][head * step + key] = share * (byHead ? 1 : most);
        text[layer * step + query][head * step + key] =
          `<b>${name}</b><br>${escaped(one.tokens[key] ?? key)} → ${escaped(one.tokens[query] ?? query)}<br>${(share * most).toPrecision(3)} nats`;
      }
    });
    return { z, text, layers, across, step, size };
  }
  function veil(colour, opacity) {
    const [red, green, blue] = [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
    return `rgba(${red},${green},${blue},${opacity})`;
  }
  function draw() {
    const one = data[arch.value], at = Number(slider.value), byHead = scale() === "head";
    const { z, text, layers, across, step, size } = tiled(one, at, byHead);
    const colour = mark(arch.value).colour, middle = (size - 1) / 2;
    const top = byHead ? 1 : Math.max(1e-9, ...one.maps[at].nats);
    const cell = Math.min(14, Math.max(3, Math.floor((place.clientWidth - 60) / (across * step))));
    plot(place, "heads", [{
      type: "heatmap", z, text, zmin: 0, zmax: top, showscale: false, hoverongaps: false,
      hovertemplate: "%{text}<extra></extra>",
      colorscale: [[0, veil(colour, 0.06)], [0.3, veil(colour, 0.45)], [1, colour]],
    }], {
      height: cell * step * layers.length + 40, margin: { l: 40, r: 8, t: 24, b: 4 },
      xaxis: {
        side: "top", zeroline: false, showgrid: false, constrain: "domain", range: [-1, across * step - 0.5],
        tickvals: Array.from({ length: across }, (_, head) => head * step + middle), ticktext: Array.from({ length: across }, (_, head) => `H${head}`),
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
