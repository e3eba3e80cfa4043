// One prompt at a time: its tokens, and a bar over each for what flows from it into the prediction.
(() => {
  "use strict";
  const { page, mark } = window.groundscope;
  const data = page.prompts;
  if (!data || !document.getElementById("prompt-viewer")) return;
  const [arch, prompt, layer, slider, readout, tokens] = ["arch", "prompt", "layer", "step", "readout", "tokens"]
    .map((part) => document.getElementById(`prompts-${part}`));

  const model = () => data[arch.value];
  const summed = (rows) => rows[0].map((_, at) => rows.reduce((sum, row) => sum + row[at], 0));
  const flow = (one, step) => (layer.value === "all" ? summed(one.flow[step]) : one.flow[step][Number(layer.value)]);

  function bar(token, value, most, isGround) {
    const item = document.createElement("li");
    const [, form, tag] = token.match(/^(.*?)(<(?:ENV|LAN)>)?$/) ?? [null, token, ""];
    const column = Object.assign(document.createElement("span"), { className: "token-bar" });
    column.style.height = `${(100 * value) / most}%`;
    const frame = Object.assign(document.createElement("span"), { className: "token-frame" });
    frame.append(column);
    const word = Object.assign(document.createElement("span"), { className: "token-word", textContent: form });
    const kind = Object.assign(document.createElement("small"), { textContent: (tag ?? "").replace(/[<>]/g, "") });
    const nats = value * page.promptUnit;
    item.title = `${token}: ${nats.toPrecision(3)} nats`;
    item.classList.toggle("ground", isGround);
    item.append(frame, word, kind);
    return item;
  }
  function draw() {
    const one = model().prompts[Number(prompt.value)];
    const step = Number(slider.value), values = flow(one, step);
    const most = Math.max(1, ...one.flow.map((_, at) => Math.max(...flow(one, at))));
    tokens.style.setProperty("--bar", mark(arch.value).colour);
    tokens.replaceChildren(...one.tokens.map((token, at) => bar(token, values[at], most, at === one.ground)));
    const target = Object.assign(document.createElement("li"), { className: "target" });
    target.append(
      Object.assign(document.createElement("span"), { className: "token-word", textContent: `→ ${one.word}` }),
      Object.assign(document.createElement("small"), { textContent: `${one.surprisal[step].toFixed(2)} nats` }),
    );
    tokens.append(target);
    const total = values.reduce((sum, value) => sum + value, 0);
    const share = total ? Math.round((100 * values[one.ground]) / total) : 0;
    readout.textContent = `step ${model().steps[step].toLocaleString("en")}: surprisal of “${one.word}” ${one.surprisal[step].toFixed(2)} nats, ${share} % of the flow comes from the scene’s word`;
  }
  function options(select, labels, kept) {
    select.replaceChildren(...labels.map(([value, text]) => new Option(text, value)));
    if (labels.some(([value]) => String(value) === kept)) select.value = kept;
  }
  function choose() {
    const one = model(), [kept, at] = [prompt.value, layer.value];
    options(prompt, one.prompts.map((each, index) => [index, `${each.word} (${each.context})`]), kept);
    options(layer, [["all", "all layers"], ...one.layers.map((number, index) => [index, `layer ${number + 1}`])], at);
    slider.max = one.steps.length - 1;
    slider.value = slider.max;
    draw();
  }
  arch.append(...Object.keys(data).map((name) => new Option(name, name)));
  arch.addEventListener("change", choose);
  for (const control of [prompt, layer]) control.addEventListener("change", draw);
  slider.addEventListener("input", draw);
  tokens.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const count = model().prompts.length;
    prompt.value = (Number(prompt.value) + by + count) % count;
    draw();
  });
  choose();
})();
