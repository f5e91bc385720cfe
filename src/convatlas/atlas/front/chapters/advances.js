"use strict";
/* Chapter 12: branches that fold into one kernel, and what very large kernels see. */

atlas.widget("fold", (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters, C = 2, SIDE = 6;
  const seed = atlas.slider("Weights, by seed", {min: 0, max: 20, step: 1, value: 0, format: String}, update);
  const point = atlas.toggle("1×1 branch", true, update), skip = atlas.toggle("Identity branch", true, update);
  const shown = h("div", {class: "kernels"}), out = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Outputs, one by one"}), said = c.told();
  function update() {
    const next = m.uniform(seed.value), norm = () => ({gamma: m.normal(next, C, 0.3).map((x) => 1 + x), beta: m.normal(next, C, 0.2), mean: m.normal(next, C, 0.3), variance: m.normal(next, C, 0.3).map((x) => 0.5 + Math.abs(x))});
    const block = {three: m.normal(next, C * C * 9, 0.3), point: m.normal(next, C * C, 0.5), skip: true, norms: {three: norm(), point: norm(), skip: norm()}, channels: C};
    if (!point.value) block.point = null;
    if (!skip.value) block.skip = null;
    const x = {values: m.normal(next, C * SIDE * SIDE), channels: C, height: SIDE, width: SIDE};
    const one = m.folded(block), trained = m.branched(x, block), merged = m.convolve(x, one.weights, {cout: C, kernel: 3, pad: 1, bias: one.bias});
    const only = (part) => m.folded({...block, three: part === "three" ? block.three : new Float64Array(C * C * 9), point: part === "point" ? block.point : null, skip: part === "skip"}).weights.slice(0, 9);
    const most = Math.max(...Array.from(one.weights.slice(0, 9), Math.abs));
    const parts = [["3×3, normalised", only("three"), true], ["1×1, as the middle of a 3×3", only("point"), point.value], ["identity, as a 3×3", only("skip"), skip.value]].filter(([, , there]) => there);
    shown.replaceChildren(...parts.flatMap(([name, values], i) => [i ? h("span", {class: "sign", "aria-hidden": "true"}, "+") : null, c.kernel(name, Array.from(values), 3, most)]).filter(Boolean), h("span", {class: "sign", "aria-hidden": "true"}, "="), c.kernel("one 3×3", Array.from(one.weights.slice(0, 9)), 3, most));
    let off = 0;
    trained.values.forEach((value, i) => { off = Math.max(off, Math.abs(value - merged.values[i])); });
    out.replaceChildren(h("table", {class: "outputs"}, h("caption", {}, "Outputs of the first row, channel 1"), h("thead", {}, h("tr", {}, ["pixel", "branches, then added", "one kernel"].map((name, i) => h("th", {scope: "col", class: i ? "n" : null}, name)))),
      h("tbody", {}, Array.from({length: SIDE}, (_, i) => h("tr", {}, h("td", {}, String(i + 1)), h("td", {class: "n"}, trained.values[i].toFixed(12)), h("td", {class: "n"}, merged.values[i].toFixed(12)))))));
    said.textContent = `Of ${trained.values.length} outputs the largest difference is ${off === 0 ? "0" : off.toExponential(1)}. ${parts.length} ${parts.length === 1 ? "branch" : "branches"}, one kernel of ${C * C * 9} weights.`;
  }
  root.replaceChildren(h("div", {class: "controls"}, seed, point, skip), shown, out, said);
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
