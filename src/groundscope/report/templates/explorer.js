// The regression behind one R-squared: a point per word, for one model, seed and checkpoint.
(() => {
  "use strict";
  const { page, state, mark, escaped, plot, onChange } = window.groundscope;
  const data = page.words;
  if (!data || !document.getElementById("explorer")) return;
  const [arch, seed, slider, readout, place] = ["arch", "seed", "step", "readout", "chart"]
    .map((part) => document.getElementById(`explorer-${part}`));

  const MEASURES = { // what stands on the x axis, and which column of rSquared belongs to it
    log: { name: "log count", column: 4, from: "counts", title: "co-occurring chunks seen so far, log(1 + count)" },
    raw: { name: "raw count", column: 5, from: "counts", title: "co-occurring chunks seen so far" },
    partial: { name: "log count, frequency held", column: 6, from: "counts", title: "co-occurring chunks seen so far, log(1 + count)" },
    counted: { name: "counted gain", column: 7, from: "counted", title: "gain of a predictor that only counts (nats)" },
  };

  const series = () => data.series[state.direction]?.[arch.value];
  const isLog = () => ["log", "partial"].includes(state.measure);
  const scaled = (count) => (isLog() ? Math.log10(count + 1) : count);
  const known = (row) => row[0] !== null && row[1] !== null;

  function rSquared(step) {
    const row = page.rSquared.find(([direction, name, one, at]) =>
      direction === state.direction && name === arch.value && String(one) === seed.value && at === step);
    return row ? row[MEASURES[state.measure].column] : null;
  }
  function leastSquares(points) {
    const n = points.length;
    const [mx, my] = [0, 1].map((at) => points.reduce((sum, point) => sum + point[at], 0) / n);
    const sxx = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
    if (n < 3 || !sxx) return null;
    const slope = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) / sxx;
    return (x) => my + slope * (x - mx);
  }
  function reach(grid) {
    const values = grid.flat().filter((value) => value !== null);
    const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const margin = 0.06 * (high - low || 1);
    return [low - margin, high + margin];
  }
  function draw() {
    const one = series();
    if (!one || !one.gain[seed.value]) { readout.textContent = "This model was not measured in this direction."; return; }
    const at = Number(slider.value), step = one.steps[at];
    const measure = MEASURES[state.measure];
    const exposure = data.exposures[one[measure.from][seed.value]], gains = one.gain[seed.value];
    const counts = data.exposures[one.counts[seed.value]];
    const rows = data.words.map((word, index) => [exposure[index][at], gains[index][at], word, counts[index][at]]).filter(known);
    const points = rows.map(([count, gain]) => [scaled(count), gain]);
    const colour = mark(arch.value).colour;
    const xs = points.map(([x]) => x), ends = [Math.min(...xs), Math.max(...xs)];
    const line = leastSquares(points);
    const all = exposure.map((row) => row.map((count) => (count === null ? null : scaled(count))));
    const marks = [0, 1, 10, 100, 1000, 1e4, 1e5, 1e6];
    plot(place, "co-occurrence", [
      {
        x: xs, y: points.map(([, y]) => y), mode: "markers", cliponaxis: false,
        marker: { color: colour, size: 8, opacity: 0.7, symbol: mark(arch.value).symbol },
        text: rows.map(([, gain, word, count]) => `<b>${escaped(word)}</b><br>G ${gain.toFixed(2)} nats<br>${count.toLocaleString("en")} co-occurring chunks`),
        hovertemplate: "%{text}<extra></extra>",
      },
      { x: line ? ends : [], y: line ? ends.map(line) : [], mode: "lines", hoverinfo: "skip", line: { color: colour, width: 1.75 } },
    ], {
      height: 360, margin: { l: 56, r: 16, t: 8, b: 48 }, showlegend: false, hovermode: "closest",
      xaxis: {
        title: { text: measure.title, standoff: 8 },
        zeroline: false, range: reach(all),
        ...(!isLog() ? {} : { tickvals: marks.map(scaled), ticktext: marks.map((value) => value.toLocaleString("en")) }),
      },
      yaxis: { title: { text: "G (nats)", standoff: 10 }, zeroline: true, zerolinewidth: 1, zerolinecolor: "#8A8A8A", range: reach(gains) },
    });
    const found = rSquared(step);
    const share = found === null ? "not defined" : found.toFixed(2).replace(/^0/, "");
    readout.textContent = `step ${step.toLocaleString("en")}: R² = ${share} (${measure.name}), ${rows.length} words`;
  }
  function choose() {
    const one = series();
    if (one) {
      const kept = seed.value;
      seed.replaceChildren(...Object.keys(one.gain).map((name) => new Option(name, name)));
      if (one.gain[kept]) seed.value = kept;
      slider.max = one.steps.length - 1;
      slider.value = slider.max;
    }
    draw();
  }
  const names = page.archs.map((each) => each.name).filter((name) => Object.values(data.series).some((all) => all[name]));
  arch.append(...names.map((name) => new Option(name, name)));
  arch.addEventListener("change", choose);
  seed.addEventListener("change", draw);
  slider.addEventListener("input", draw);
  onChange(draw);
  choose();
})();
