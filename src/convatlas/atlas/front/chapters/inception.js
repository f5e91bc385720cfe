"use strict";
/* Chapter 4: a 1×1 convolution is one fully connected layer that all pixels share. */

atlas.widget("one-by-one", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters, NAMES = ["red", "green", "blue"];
  const MATRICES = {
    mixed: [[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]], grey: [[1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]],
    swapped: [[0, 0, 1], [0, 1, 0], [1, 0, 0]], sharp: [[1.5, -0.5, 0], [-0.5, 1.5, -0.5], [0, -0.5, 1.5]],
  };
  let weights = Float64Array.from(MATRICES.mixed.flat()), picture = null, spot = [60, 60], order = [];
  const preset = atlas.choice("Weights", Object.keys(MATRICES), "mixed", (name) => { weights = Float64Array.from(MATRICES[name].flat()); sliders.forEach((each, i) => each.set(weights[i])); update(); });
  const sliders = Array.from(weights, (value, i) => atlas.slider(`${NAMES[i % 3]} to output ${Math.floor(i / 3) + 1}`, {min: -2, max: 2, step: 0.05, value},
    (now) => { weights[i] = now; preset.set(null); update(); }));
  const mix = atlas.toggle("Shuffle the pixels first", false, update);
  const views = [c.view("Input", {wide: 200}), c.view("Output of the 1×1 convolution", {wide: 200, caption: "output"})], sum = h("pre", {class: "sum"}), said = c.told();
  const put = c.pointed(views[0].canvas, "Choose a pixel", () => picture || {height: 1, width: 1}, (row, column) => { spot = [row, column]; update(); });
  function update() {
    if (!picture) return;
    const bias = new Float64Array(3), source = mix.value ? m.reordered(picture, order) : picture;
    const out = m.convolve(source, weights, {cout: 3, kernel: 1}), straight = m.convolve(picture, weights, {cout: 3, kernel: 1});
    views[0].show(source, {channel: null, low: 0, high: 1});
    views[1].show(out, {channel: null, low: 0, high: 1});
    views[0].say(mix.value ? "input, its pixels shuffled" : "input");
    const layer = m.everywhere(source, weights, bias), expected = mix.value ? m.reordered(straight, order) : straight;
    const differ = (a, b) => a.values.reduce((count, value, i) => count + (value !== b.values[i]), 0);
    const area = picture.height * picture.width, at = spot[0] * picture.width + spot[1], row = (o) => NAMES.map((_, i) => `${weights[o * 3 + i].toFixed(2)}·${source.values[i * area + at].toFixed(3)}`).join(" + ");
    sum.textContent = [0, 1, 2].map((o) => `S${"₁₂₃"[o]} = ${row(o)} = ${out.values[o * area + at].toFixed(3)}`).join("\n");
    const total = atlas.format.count(out.values.length);
    said.textContent = `Of ${total} outputs ${differ(out, layer)} differ from those of a fully connected layer run at each pixel`
      + (mix.value ? `, and ${differ(out, expected)} from the output of the unshuffled picture, shuffled alike.` : ".") + ` Shown: row ${spot[0]}, column ${spot[1]}.`;
  }
  root.replaceChildren();
  await c.picture(root, (planes) => { picture = planes; order = m.shuffled(m.uniform(1), planes.height * planes.width); put(Math.min(60, planes.height - 1), Math.min(60, planes.width - 1)); }, {most: 112, first: 1});
  root.append(h("div", {class: "controls"}, preset, mix), h("div", {class: "views"}, views), h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Sums at this pixel"}, sum), said,
    h("details", {}, h("summary", {}, "Set the nine weights"), h("div", {class: "controls"}, sliders)));
});
