"use strict";
/* Chapter 12: branches that fold into one kernel, and what very large kernels see. */

atlas.widget("fold", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters, given = await atlas.load("branches"), C = given.channels, SIDE = given.side, area = SIDE * SIDE;
  const floats = (text) => Float64Array.from(new Float32Array(atlas.bytes(text).buffer));
  const norms = Object.fromEntries(Object.entries(given.norms).map(([name, norm]) => [name, Object.fromEntries(Object.entries(norm).map(([key, text]) => [key, floats(text)]))]));
  const three = floats(given.three), one = floats(given.point), none = new Float64Array(three.length), inputs = given.inputs.map(floats);
  const picture = atlas.choice("Picture", given.pictures.map((name, i) => [i, name]), 0, update), channel = atlas.slider("Channel", {min: 1, max: C, step: 1, value: 1, format: String}, show);
  const point = atlas.toggle("1×1 branch", true, update), skip = atlas.toggle("Identity branch", true, update);
  const shown = h("div", {class: "kernels"}), out = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Outputs, one by one"}), said = c.told();
  let found = null;
  function update() {
    const block = {three, point: point.value ? one : null, skip: skip.value, norms, channels: C, eps: given.eps}, x = {values: inputs[+picture.value], channels: C, height: SIDE, width: SIDE};
    const only = (part) => m.folded({...block, three: part === "three" ? three : none, point: part === "point" ? one : null, skip: part === "skip"}).weights;
    const kernel = m.folded(block), branches = m.branched(x, block), merged = m.convolve(x, kernel.weights, {cout: C, kernel: 3, pad: 1, bias: kernel.bias});
    const parts = [["3×3, normalised", only("three")], point.value && ["1×1, as the middle of a 3×3", only("point")], skip.value && ["identity, as a 3×3", only("skip")]].filter(Boolean);
    found = {kernel, branches, merged, parts};
    show();
  }
  function show() {
    const {kernel, branches, merged, parts} = found, o = channel.value - 1, own = (weights) => Array.from(weights.subarray((o * C + o) * 9, (o * C + o + 1) * 9));
    const most = Math.max(...[kernel.weights, ...parts.map(([, weights]) => weights)].flatMap(own).map(Math.abs));
    shown.replaceChildren(...parts.flatMap(([name, weights], i) => [i ? h("span", {class: "sign", "aria-hidden": "true"}, "+") : null, c.kernel(name, own(weights), 3, most)]).filter(Boolean), h("span", {class: "sign", "aria-hidden": "true"}, "="), c.kernel("one 3×3", own(kernel.weights), 3, most));
    const off = branches.values.reduce((worst, value, i) => Math.max(worst, Math.abs(value - merged.values[i])), 0);
    const row = Array.from({length: SIDE}, (_, i) => o * area + (SIDE >> 1) * SIDE + i);
    out.replaceChildren(h("table", {class: "outputs"}, h("caption", {}, `Outputs of the middle row, channel ${o + 1}`), h("thead", {}, h("tr", {}, ["pixel", "branches, then added", "one kernel"].map((name, i) => h("th", {scope: "col", class: i ? "n" : null}, name)))),
      h("tbody", {}, row.map((at, i) => h("tr", {}, h("td", {}, String(i + 1)), h("td", {class: "n"}, branches.values[at].toFixed(10)), h("td", {class: "n"}, merged.values[at].toFixed(10)))))));
    said.textContent = `Of ${atlas.format.count(branches.values.length)} outputs the largest difference is ${off === 0 ? "0" : off.toExponential(1)}. ${parts.length} ${parts.length === 1 ? "branch" : "branches"}, one kernel of ${atlas.format.count(kernel.weights.length)} weights; drawn is its part from channel ${o + 1} to channel ${o + 1}.`;
  }
  root.replaceChildren(h("div", {class: "controls"}, picture, channel, point, skip), shown, said, out);
  update();
});

atlas.widget("influence", (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters, SIDE = 225;
  const KINDS = {three: ["3×3", [[3, 3]], 3], seven: ["7×7", [[7, 7]], 7], thirtyone: ["31×31", [[31, 31]], 31], strips: ["51×5 + 5×51 + 5×5", [[51, 5], [5, 51], [5, 5]], 51]};
  const redraw = atlas.paced(update);
  const kind = atlas.choice("Kernel", Object.entries(KINDS).map(([key, [name]]) => [key, name]), "three", redraw);
  const layers = atlas.slider("Layers", {min: 1, max: 24, step: 1, value: 4, format: String}, redraw);
  const shortcut = atlas.toggle("A shortcut around each layer", false, redraw);
  const shape = c.view("Influence of each pixel on the middle of the output", {wide: 300, caption: "influence of each pixel, root of its share"}), plotted = h("div"), said = c.told(), found = {};
  function update() {
    const [name, boxes, wide] = KINDS[kind.value], n = layers.value, field = m.influence(Array(n).fill(boxes), SIDE, shortcut.value);
    const peak = Math.max(...field);
    shape.show({values: field.map((value) => Math.sqrt(value / peak)), channels: 1, height: SIDE, width: SIDE}, {low: 0, high: 1});
    const half = m.holding(field, SIDE, 0.5), most = m.holding(field, SIDE, 0.99), reach = m.sight(Array(n).fill([wide, 1])), middle = (SIDE - 1) / 2;
    found[`${name}${shortcut.value ? ", shortcuts" : ""}`] = Array.from({length: SIDE}, (_, x) => [x - middle, Math.sqrt(field[middle * SIDE + x] / peak)]);
    atlas.plot(plotted, {title: "Influence along the middle row", height: 220, lines: Object.entries(found).slice(-4).map(([each, points]) => ({name: each, points})), x: {label: "pixels from the middle"}, y: {label: "influence, of the most", min: 0, max: 1}});
    said.textContent = `${n} ${n === 1 ? "layer" : "layers"} of ${name}: receptive field ${reach}×${reach}; half of the influence comes from ${half}×${half} pixels, 99 % from ${most}×${most}${reach > SIDE ? `, of the ${SIDE}×${SIDE} that are drawn` : ""}.`;
  }
  root.replaceChildren(h("div", {class: "controls"}, kind, layers, shortcut), h("div", {class: "columns"}, shape, plotted), said);
  update();
});
