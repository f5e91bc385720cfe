"use strict";
/* Chapter 9: what a depthwise-separable convolution costs. */

atlas.widget("separable", (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters;
  const kernel = atlas.slider("Kernel D_K", {min: 1, max: 9, step: 2, value: 3, format: String}, update);
  const cin = atlas.slider("Channels in, M", {min: 3, max: 10, step: 1, value: 9, format: (x) => String(2 ** x)}, update);
  const cout = atlas.slider("Channels out, N", {min: 3, max: 10, step: 1, value: 9, format: (x) => String(2 ** x)}, update);
  const side = atlas.slider("Side of the map, D_F", {min: 7, max: 112, step: 7, value: 14, format: String}, update);
  const costs = h("div"), sum = h("pre", {class: "sum"}), said = c.told();
  function update() {
    const [D, M, N, F] = [kernel.value, 2 ** cin.value, 2 ** cout.value, side.value], {full, depthwise, pointwise, share} = m.separable({kernel: D, cin: M, cout: N, side: F});
    const words = ({params, macs}) => `${atlas.format.short(macs)} multiply-adds, ${atlas.format.short(params)} weights`;
    c.bars(costs, [["full", full.macs, words(full), "other"], ["depthwise", depthwise.macs, words(depthwise)], ["pointwise, 1×1", pointwise.macs, words(pointwise)]]);
    sum.textContent = `full       M·N·D_K²·D_F² = ${M}·${N}·${D}²·${F}² = ${atlas.format.count(full.macs)}\ndepthwise  M·D_K²·D_F²   = ${M}·${D}²·${F}² = ${atlas.format.count(depthwise.macs)}\npointwise  M·N·D_F²      = ${M}·${N}·${F}² = ${atlas.format.count(pointwise.macs)}\nshare      1/N + 1/D_K²  = ${(1 / N).toFixed(4)} + ${(1 / D ** 2).toFixed(4)} = ${share.toFixed(4)}`;
    said.textContent = share < 1 ? `The pair costs ${atlas.format.percent(share, 1)} of the full convolution: ${(1 / share).toFixed(2)} times less. ${atlas.format.percent(pointwise.macs / (pointwise.macs + depthwise.macs), 0)} of what is left is the 1×1 convolution.`
      : "Here the pair costs more than the convolution that it replaces.";
  }
  root.replaceChildren(h("div", {class: "controls"}, kernel, cin, cout, side), costs, h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "The sums"}, sum), said);
  update();
});
