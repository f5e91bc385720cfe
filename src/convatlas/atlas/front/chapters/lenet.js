"use strict";
/* Chapter 1: what sharing saves; a digit through LeNet-5. */

atlas.widget("shared-weights", (root) => {
  const {h} = atlas, c = atlas.chapters;
  const side = atlas.slider("Side of the picture", {min: 8, max: 64, step: 4, value: 16, format: String}, update);
  const kernel = atlas.slider("Kernel", {min: 3, max: 7, step: 2, value: 5, format: String}, update);
  const maps = atlas.slider("Maps", {min: 1, max: 16, step: 1, value: 4, format: String}, update);
  const costs = h("div"), said = c.told();
  function update() {
    const [n, k, m] = [side.value, kernel.value, maps.value], out = n - k + 1, units = out * out * m;
    const rows = [["fully connected", (n * n + 1) * units], ["local: each unit its own kernel", (k * k + 1) * units], ["shared: a kernel per map", (k * k + 1) * m]];
    c.bars(costs, rows.map(([name, weights], i) => [name, weights, `${atlas.format.count(weights)} weights and biases`, i === 2 ? null : "other"]));
    said.textContent = `${atlas.format.count(units)} units in ${m} ${m === 1 ? "map" : "maps"} of ${out}×${out}. Local and shared make the same ${atlas.format.count((k * k + 1) * units)} connections; sharing needs one weight for every ${atlas.format.count(out * out)} of them.`;
  }
  root.replaceChildren(h("div", {class: "controls"}, side, kernel, maps), costs, said);
  update();
});
