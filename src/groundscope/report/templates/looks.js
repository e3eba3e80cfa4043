// Pictures as the heads see them: saliency painted over the picture from dark to yellow, the box drawn.
(() => {
  "use strict";
  const data = window.groundscope.page.looks;
  if (!data || !document.getElementById("picture-viewer")) return;
  const MOST = 24, FROM = [38, 70, 120], TOWARDS = [255, 196, 0], SVG = "http://www.w3.org/2000/svg";
  const [arch, picture, layer, slider, readout, tiles] = ["arch", "picture", "layer", "step", "readout", "tiles"]
    .map((part) => document.getElementById(`looks-${part}`));

  const model = () => data.models[arch.value];
  const drawn = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const text = (name, className, textContent) => Object.assign(document.createElement(name), { className, textContent });
  const rectangle = ([left, top, right, bottom]) => ({ x: left, y: top, width: right - left, height: bottom - top });
  const percent = (share) => `${Math.round(100 * share)} %`;
  const name = (row) => `L${model().layers[row]}H${model().heads[row]}`;
  const shade = (share) => `rgb(${FROM.map((low, at) => Math.round(low + (TOWARDS[at] - low) * share)).join(" ")})`;

  function overlay(one, label, values, patches) {
    const view = drawn("svg", { viewBox: `0 0 ${one.width} ${one.height}`, role: "img", "aria-label": label });
    const image = drawn("image", { href: one.src, width: one.width, height: one.height });
    view.append(image);
    if (values) {
      image.setAttribute("class", "under");
      values.forEach((value, at) => view.append(drawn("rect", { ...rectangle(patches[at]), fill: shade(value / 255), class: "patch" })));
    }
    view.append(drawn("rect", { ...rectangle(one.box), class: "box" }));
    return view;
  }
  function tile(one, said, values, isFound, patches) {
    const whole = text("div", "look", ""), under = text("p", "said", "");
    whole.classList.toggle("found", isFound);
    under.append(...said.map((line, at) => text(at ? "span" : "b", "", line)));
    whole.append(overlay(one, said.join(", "), values, patches), under);
    return whole;
  }
  function draw() {
    const at = Number(picture.value), step = Number(slider.value), here = model();
    const one = data.pictures[data.order[at]], maps = here.maps[step][at];
    const bytes = Uint8Array.from(atob(maps.bytes), (character) => character.charCodeAt(0));
    const patches = here.patches[at], wide = patches.length;
    let rows = here.layers.map((_, row) => row).filter((row) => layer.value === "all" || here.layers[row] === Number(layer.value));
    if (rows.length > MOST) {
      const largest = rows.filter((row) => here.heads[row] !== null).sort((a, b) => maps.nats[b] - maps.nats[a]).slice(0, MOST);
      rows = rows.filter((row) => largest.includes(row));
    }
    tiles.replaceChildren(
      tile(one, [`“${one.sentence} …”`, `${one.word}: ${maps.surprisal.toFixed(2)} nats`], null, false),
      ...rows.map((row) => {
        const head = here.heads[row], isHead = head !== null;
        const said = [isHead ? name(row) : `L${here.layers[row]}, all heads`, `${percent(maps.share[row])} from the box`, `${maps.nats[row]} nats`];
        return tile(one, said, [...bytes.subarray(row * wide, (row + 1) * wide)], isHead && maps.share[row] >= data.threshold, patches);
      }),
    );
    const found = here.heads.flatMap((head, row) => (head !== null && maps.share[row] >= data.threshold ? [name(row)] : []));
    const most = percent(data.threshold);
    readout.textContent = `step ${here.steps[step].toLocaleString("en")}: surprisal of “${one.word}” ${maps.surprisal.toFixed(2)} nats; ` +
      (found.length ? `at least ${most} from the box: ${found.join(", ")}` : `no head takes ${most} from the box`);
  }
  function options(select, labels, kept) {
    select.replaceChildren(...labels.map(([value, label]) => new Option(label, value)));
    if (labels.some(([value]) => String(value) === kept)) select.value = kept;
  }
  function choose() {
    const here = model(), layers = [...new Set(here.layers)];
    options(layer, [["all", "all layers"], ...layers.map((number) => [number, `L${number}`])], layer.value);
    slider.max = here.steps.length - 1;
    slider.value = slider.max;
    draw();
  }
  options(picture, data.order.map((number, at) => {
    const one = data.pictures[number];
    return [at, `${one.word} (${one.style}${one.heldOut ? ", held out" : ""})`];
  }));
  arch.append(...Object.keys(data.models).map((name) => new Option(name, name)));
  arch.addEventListener("change", choose);
  for (const control of [picture, layer]) control.addEventListener("change", draw);
  slider.addEventListener("input", draw);
  tiles.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    picture.value = (Number(picture.value) + by + data.order.length) % data.order.length;
    draw();
  });
  choose();
})();
