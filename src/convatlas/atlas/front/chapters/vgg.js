"use strict";
/* Chapter 3: a stack of small kernels, what it sees and what it costs. */

atlas.widget("stack", (root) => {
  const {h, s} = atlas, m = atlas.maths, c = atlas.chapters;
  const layers = atlas.slider("Layers", {min: 1, max: 8, step: 1, value: 3, format: String}, update);
  const kernel = atlas.choice("Kernel", [[3, "3×3"], [5, "5×5"], [7, "7×7"]], 3, update);
  const channels = atlas.slider("Channels in and out", {min: 5, max: 9, step: 1, value: 6, format: (x) => String(2 ** x)}, update);
  const drawn = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "What the top unit sees"}), costs = h("div"), said = c.told();
  function update() {
    const n = layers.value, k = kernel.value, C = 2 ** channels.value, seen = m.sight(Array(n).fill([k, 1]));
    const cell = Math.max(8, Math.min(34, 560 / seen)), high = 52, wide = Math.max(240, seen * cell + 24), middle = wide / 2;
    const svg = s("svg", {viewBox: `0 0 ${wide + 130} ${(n + 1) * high + 4}`, class: "stacked", role: "img",
      "aria-label": `One unit above ${n} layers of ${k}×${k} sees ${seen} by ${seen} pixels`, style: {"min-width": `${Math.min(wide + 130, 340)}px`, "max-width": `${wide + 130}px`}});
    for (let level = 0; level <= n; level++) {
      const count = seen - level * (k - 1), y = (n - level) * high + 12;
      for (let i = 0; i < count; i++) {
        const x = middle + (i - count / 2) * cell;
        svg.append(s("rect", {x: x + 0.8, y, width: cell - 1.6, height: 16, rx: 2.5, class: level === 0 ? "pixel" : level === n ? "unit apex" : "unit"}));
        if (level) for (const d of [0, k - 1]) {
          const below = count + k - 1, to = middle + (i + d - below / 2 + 0.5) * cell;
          svg.append(s("line", {x1: x + cell / 2, y1: y + 16, x2: to, y2: y + high, class: "ray"}));
        }
      }
      svg.append(s("text", {x: wide + 8, y: y + 11, class: "tick"}, level === 0 ? `${seen} pixels` : `layer ${level}`));
    }
    drawn.replaceChildren(svg);
    const stack = n * k * k * C * C, one = seen * seen * C * C;
    c.bars(costs, [[`${n} × ${k}×${k}`, stack, `${atlas.format.short(stack)} weights, ${n} ${n === 1 ? "activation" : "activations"}`],
      [`one ${seen}×${seen}`, one, `${atlas.format.short(one)} weights, 1 activation`, "other"]]);
    said.textContent = `One unit on top sees ${seen}×${seen} pixels. ${stack === one ? "One layer is one layer." : `The stack has ${atlas.format.percent(1 - stack / one, 0)} fewer weights than a single layer that sees as much.`}`;
  }
  root.replaceChildren(h("div", {class: "controls"}, layers, kernel, channels), drawn, costs, said);
  update();
});
