"use strict";
/* Chapter 5: pooling against strided convolution. */

atlas.widget("pool-or-stride", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters;
  const FIXED = {
    "every other pixel": [0, 0, 0, 0, 1, 0, 0, 0, 0], mean: Array(9).fill(1 / 9), "nearest to the maximum": null,
  };
  const kind = atlas.choice("Kernel of the strided convolution", Object.keys(FIXED), "every other pixel", update);
  const views = [c.view("The map, edges rectified", {wide: 176}), c.view("Maximum of 3×3, stride 2", {wide: 176}), c.view("Strided convolution, 3×3, stride 2", {wide: 176}), c.view("Difference", {wide: 176})];
  const shown = h("div", {class: "kernels"}), said = c.told();
  let map = null;
  function update() {
    if (!map) return;
    const most = m.pool(map, 3, 2, "max");
    let weights = FIXED[kind.value], bias = null, found = null;
    if (!weights) { found = m.nearest(map, most, 3, 2); ({weights, bias} = found); }
    const out = m.convolve(map, weights, {kernel: 3, stride: 2, bias});
    let left = 0, whole = 0, mean = 0;
    for (const value of most.values) mean += value / most.values.length;
    const off = out.values.map((value, i) => { left += (value - most.values[i]) ** 2; whole += (most.values[i] - mean) ** 2; return value - most.values[i]; });
    const high = Math.max(...most.values);
    views[0].show(map, {low: 0});
    views[1].show(most, {low: 0, high});
    views[2].show(out, {low: 0, high});
    views[3].show({...out, values: off}, {signed: true});
    shown.replaceChildren(c.kernel(bias ? `kernel, and a bias of ${bias[0].toFixed(3)}` : "kernel", Array.from(weights), 3));
    said.textContent = `The strided convolution explains ${atlas.format.percent(1 - left / whole, 1)} of the variance of the maximum on this picture.`
      + (found ? " No other kernel with a bias explains more: what is left is not linear." : "");
  }
  root.replaceChildren();
  await c.picture(root, (planes) => { map = m.rectified(m.convolve(c.gray(planes), m.edges(16, 5).slice(0, 25), {kernel: 5})); update(); }, {most: 128});
  root.append(h("div", {class: "controls"}, kind), h("div", {class: "views"}, views), shown, said);
});
