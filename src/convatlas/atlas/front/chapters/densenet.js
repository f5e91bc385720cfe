"use strict";
/* Chapter 7: a dense block, connection by connection. */

atlas.widget("dense", (root) => {
  const {h, s} = atlas, m = atlas.maths, c = atlas.chapters;
  const layers = atlas.slider("Layers", {min: 2, max: 8, step: 1, value: 5, format: String}, rebuild);
  const growth = atlas.slider("Growth k", {min: 4, max: 48, step: 4, value: 12, format: String}, update);
  const first = atlas.slider("Channels that come in, k₀", {min: 4, max: 64, step: 4, value: 16, format: String}, update);
  const neck = atlas.toggle("Bottlenecks: 1×1 to 4k first", false, update);
  const drawn = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Connections, drawn"}), grid = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Connections, one by one"}), said = c.told();
  let reads = [], buttons = [];
  const preset = (name, f) => h("button", {type: "button", on: {click: () => { reads = reads.map((row, l) => row.map((_, i) => f(l, i))); update(); }}}, name);
  function rebuild() {
    reads = Array.from({length: layers.value}, (_, l) => Array.from({length: l + 1}, () => true));
    buttons = reads.map((row, l) => row.map((_, i) => h("button", {type: "button", class: "cell", on: {click: () => { reads[l][i] = !reads[l][i]; update(); }}})));
    const names = (i) => i === 0 ? "input" : `layer ${i}`;
    grid.replaceChildren(h("table", {class: "links"}, h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "reads"), reads.map((_, i) => h("th", {scope: "col"}, names(i))), h("th", {scope: "col", class: "n"}, "channels"), h("th", {scope: "col", class: "n"}, "weights"))),
      h("tbody", {}, reads.map((row, l) => h("tr", {}, h("th", {scope: "row"}, names(l + 1)), reads.map((_, i) => h("td", {}, i <= l ? buttons[l][i] : null)), h("td", {class: "n channels"}), h("td", {class: "n weights"}))))));
    update();
  }
  function update() {
    const {layers: costs, weights} = m.dense({first: first.value, growth: growth.value, reads, bottleneck: neck.value});
    const rows = grid.querySelectorAll("tbody tr"), wide = 96, n = reads.length;
    reads.forEach((row, l) => {
      row.forEach((read, i) => {
        const button = buttons[l][i];
        button.setAttribute("aria-pressed", String(read));
        button.setAttribute("aria-label", `Layer ${l + 1} reads ${i === 0 ? "the input" : `layer ${i}`}`);
        button.textContent = read ? "●" : "○";
      });
      rows[l].querySelector(".channels").textContent = atlas.format.count(costs[l].channels);
      rows[l].querySelector(".weights").textContent = atlas.format.count(costs[l].weights);
    });
    const svg = s("svg", {viewBox: `0 0 ${(n + 1) * wide} 210`, class: "arcs", role: "img", "aria-label": `${reads.flat().filter(Boolean).length} connections between ${n + 1} maps`, style: {"min-width": `${Math.min(640, (n + 1) * 62)}px`}});
    reads.forEach((row, l) => row.forEach((read, i) => {
      const from = (i + 0.5) * wide, to = (l + 1.5) * wide, up = 150 - Math.min(135, (l + 1 - i) * 34);
      svg.append(s("path", {d: `M${from} 150 Q${(from + to) / 2} ${up - (l + 1 - i) * 8} ${to} 150`, class: read ? "arc on" : "arc", on: {click: () => { reads[l][i] = !reads[l][i]; update(); }}}));
    }));
    for (let i = 0; i <= n; i++) {
      const channels = i === 0 ? first.value : growth.value, high = 12 + channels * 0.55;
      svg.append(s("rect", {x: (i + 0.5) * wide - 13, y: 150 - high / 2, width: 26, height: high, rx: 4, class: "map"}), s("text", {x: (i + 0.5) * wide, y: 202, class: "tick middle"}, i === 0 ? `input, ${channels}` : `${i}: ${channels}`));
    }
    drawn.replaceChildren(svg);
    const all = n * (n + 1) / 2, on = reads.flat().filter(Boolean).length, dead = costs.filter(({channels}) => !channels).length;
    said.textContent = `${on} of ${all} possible connections; ${atlas.format.count(weights)} weights. The last layer reads ${atlas.format.count(costs.at(-1).channels)} channels`
      + (on === all ? ` = ${first.value} + ${growth.value} × ${n - 1}, as k₀ + k(l − 1) says.` : ".") + (dead ? " A layer that reads nothing answers nothing." : "");
  }
  root.replaceChildren(h("div", {class: "controls"}, layers, growth, first, neck), h("p", {class: "buttons"}, preset("Every one", () => true), preset("A chain", (l, i) => i === l), preset("The two before", (l, i) => i >= l - 1)), drawn, grid, said);
  rebuild();
});
