"use strict";
/* Chapter 10: compound scaling; costs are counted anew from the library's table, rounding included. */

atlas.widget("compound", (root, {table, ratio, published, coefficients}) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters;
  const redraw = atlas.paced(update);
  const sliders = {
    alpha: atlas.slider("α, of the depth", {min: 1, max: 2, step: 0.01, value: coefficients.alpha}, redraw), beta: atlas.slider("β, of the width", {min: 1, max: 1.5, step: 0.01, value: coefficients.beta}, redraw),
    gamma: atlas.slider("γ, of the resolution", {min: 1, max: 1.5, step: 0.01, value: coefficients.gamma}, redraw), phi: atlas.slider("φ", {min: 0, max: 7, step: 0.1, value: 1, format: (x) => x.toFixed(1)}, redraw),
  };
  const PRESETS = [["published", coefficients], ["depth", {alpha: 2, beta: 1, gamma: 1}], ["width", {alpha: 1, beta: 1.41, gamma: 1}], ["resolution", {alpha: 1, beta: 1, gamma: 1.41}]];
  const preset = atlas.choice("Scale", PRESETS.map(([name]) => [name, name === "published" ? "all three" : `${name} alone`]), "published", (name) => {
    for (const [key, value] of Object.entries(PRESETS.find(([each]) => each === name)[1])) sliders[key].set(value);
    redraw();
  });
  const plotted = h("div"), said = c.told(), numbers = h("dl", {class: "numbers"});
  const scaled = (by) => {
    const [alpha, beta, gamma] = ["alpha", "beta", "gamma"].map((key) => sliders[key].value);
    return {depth: alpha ** by, width: beta ** by, size: Math.round(224 * gamma ** by), product: alpha * beta ** 2 * gamma ** 2};
  };
  function update() {
    const phi = sliders.phi.value, now = scaled(phi), cost = m.efficientnet(table, {...now, ratio}), base = m.efficientnet(table, {ratio});
    const line = Array.from({length: 29}, (_, i) => { const told = m.efficientnet(table, {...scaled(i / 4), ratio}); return [told.macs / 1e9, told.params / 1e6]; });
    atlas.plot(plotted, {title: "Multiply-adds and parameters: these coefficients, and the published networks", height: 320,
      lines: [{name: "these coefficients, φ from 0 to 7", points: line}],
      marks: [{name: "published", points: published.map(({name, macs, params}) => [macs / 1e9, params / 1e6, name, `../network/${name}.html`])}, {name: "yours", points: [[cost.macs / 1e9, cost.params / 1e6, "yours"]]}],
      x: {label: "multiply-adds, G", log: true}, y: {label: "parameters, M", log: true}});
    numbers.replaceChildren(...[["depth d = αᵠ", now.depth.toFixed(2)], ["width w = βᵠ", now.width.toFixed(2)], ["resolution", `${now.size}²`], ["multiply-adds", atlas.format.short(cost.macs)], ["parameters", atlas.format.short(cost.params)], ["times B0's multiply-adds", (cost.macs / base.macs).toFixed(2)]]
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    said.textContent = `α·β²·γ² = ${now.product.toFixed(3)}, so the rule expects ${(now.product ** phi).toFixed(2)} times the cost; counted, with whole layers and channels in eights, it is ${(cost.macs / base.macs).toFixed(2)} times.`;
  }
  root.replaceChildren(h("div", {class: "controls"}, preset, sliders.phi, sliders.alpha, sliders.beta, sliders.gamma), numbers, plotted, said);
  update();
});
