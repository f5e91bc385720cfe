"use strict";
/* Chapter 11: tiles with mirrored borders, and three ways to double a map. */

atlas.widget("tiles", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters;
  const levels = atlas.slider("Halvings", {min: 1, max: 3, step: 1, value: 2, format: String}, update);
  const border = atlas.choice("Beyond the edge", [["mirror", "mirrored"], ["black", "black"]], "mirror", update);
  const place = h("canvas", {class: "crisp tiles"}), said = c.told();
  let picture = null, at = [0, 0], plan = null;
  const put = c.pointed(place, "Choose a tile", () => plan ? {height: plan.rows, width: plan.columns} : {height: 1, width: 1}, (row, column) => { at = [row, column]; paint(); });
  function update() {
    if (!picture) return;
    const few = levels.value;
    let input = 0;
    for (let side = 24; side < 400; side++) if (m.valid(side, few) >= 44 && !input) input = side;
    const output = m.valid(input, few), margin = (input - output) / 2;
    plan = {input, output, margin, rows: Math.ceil(picture.height / output), columns: Math.ceil(picture.width / output)};
    put(Math.min(at[0], plan.rows - 1), Math.min(at[1], plan.columns - 1));
  }
  function paint() {
    if (!plan) return;
    const {input, output, margin, rows, columns} = plan, [row, column] = at;
    const wide = columns * output + 2 * margin, high = rows * output + 2 * margin, area = picture.height * picture.width;
    place.width = wide; place.height = high;
    place.style.setProperty("aspect-ratio", `${wide} / ${high}`);
    const context = place.getContext("2d"), image = context.createImageData(wide, high);
    const x0 = column * output, y0 = row * output;
    let mirrored = 0;
    for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      const py = y - margin, px = x - margin, inside = py >= 0 && py < picture.height && px >= 0 && px < picture.width;
      const seen = x >= x0 && x < x0 + input && y >= y0 && y < y0 + input;
      if (seen && !inside) mirrored++;
      const from = m.mirror(py, picture.height) * picture.width + m.mirror(px, picture.width);
      for (let k = 0; k < 3; k++) {
        const value = !inside && border.value === "black" ? 0 : picture.values[k * area + from];
        image.data[(y * wide + x) * 4 + k] = 255 * (seen ? value : 0.5 + (value - 0.5) * 0.35);
      }
      image.data[(y * wide + x) * 4 + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    const frame = (x, y, side, ink) => { context.strokeStyle = ink; context.lineWidth = 2; context.strokeRect(x + 1, y + 1, side - 2, side - 2); };
    context.globalAlpha = 0.5;
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) frame(margin + j * output, margin + i * output, output, "#8a95a2");
    context.globalAlpha = 1;
    frame(x0, y0, input, "#ef8a56");
    frame(x0 + margin, y0 + margin, output, "#6ea3f5");
    said.textContent = `Tile ${row * columns + column + 1} of ${rows * columns}: ${input}×${input} pixels in (orange), ${output}×${output} scores out (blue). `
      + `${atlas.format.percent(mirrored / input ** 2, 0)} of what it sees lies beyond the edge. The tiles see ${(rows * columns * input ** 2 / area).toFixed(1)} times as many pixels as the picture has.`;
  }
  root.replaceChildren();
  await c.picture(root, (planes) => { picture = planes; update(); }, {first: 1});
  root.append(h("div", {class: "controls"}, levels, border), place, said);
});

atlas.widget("upsample", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters;
  const {images} = await c.digits();
  const way = atlas.choice("Way", [["transposed", "transposed"], ["bilinear", "bilinear weights"], ["resize", "resize, then 3×3"]], "transposed", update);
  const kernel = atlas.slider("Kernel of the transposed convolution", {min: 2, max: 6, step: 1, value: 3, format: String}, update);
  const seed = atlas.slider("Seed of the weights", {min: 0, max: 9, step: 1, value: 1, format: String}, update);
  const source = atlas.choice("Map", [["flat", "flat"], ["digit", "a digit"]], "flat", update);
  const views = [c.view("The map", {wide: 168, caption: "the map"}), c.view("Zeros put between its pixels", {wide: 168}), c.view("The map, doubled", {wide: 168, caption: "doubled"}), c.view("Weights that reach each pixel", {wide: 168})], said = c.told(), shown = h("div", {class: "kernels"});
  function update() {
    const k = way.value === "transposed" ? kernel.value : way.value === "bilinear" ? 4 : 3;
    let weights = m.normal(m.uniform(seed.value * 7919 + k), k * k, 1).map((value) => 0.5 + value * 0.5);
    if (way.value === "bilinear") { const line = [0.25, 0.75, 0.75, 0.25]; weights = Float64Array.from({length: 16}, (_, i) => line[Math.floor(i / 4)] * line[i % 4]); }
    const sum = weights.reduce((all, value) => all + value, 0);
    weights = weights.map((value) => value / sum * (way.value === "resize" ? 1 : 4));
    const map = {values: source.value === "flat" ? new Float64Array(64).fill(1) : images.slice(64 * 3, 64 * 4), channels: 1, height: 8, width: 8};
    const resized = m.repeated(map, 2), up = way.value === "resize" ? m.convolve(resized, weights, {kernel: 3, pad: 1}) : m.transposed(map, weights, k, 2);
    const reached = way.value === "resize" ? m.convolve({...resized, values: resized.values.map(() => 1)}, new Float64Array(9).fill(1), {kernel: 3, pad: 1}).values : up.reached;
    const middle = [];
    for (let y = 4; y < 12; y++) for (let x = 4; x < 12; x++) middle.push(y * 16 + x);
    const mean = middle.reduce((all, i) => all + up.values[i], 0) / middle.length;
    const ripple = Math.sqrt(middle.reduce((all, i) => all + (up.values[i] - mean) ** 2, 0) / middle.length) / Math.abs(mean);
    views[0].show(map, {low: 0, high: 1});
    views[1].show(way.value === "resize" ? resized : m.spaced(map, 2), {low: 0, high: 1});
    views[1].say(way.value === "resize" ? "each pixel repeated" : "zeros put between");
    views[2].show(up, {low: 0, high: 2});
    views[3].show({values: reached, channels: 1, height: 16, width: 16}, {low: 0, high: 9});
    const counts = [...new Set(middle.map((i) => reached[i]))].sort((a, b) => a - b);
    views[3].say(`weights that reach a pixel: ${counts.join(", ")}`);
    shown.replaceChildren(c.kernel(`the ${k}×${k} weights`, Array.from(weights), k));
    said.textContent = source.value === "flat" ? `Away from the border the doubled map deviates from flat by ${atlas.format.percent(ripple < 1e-12 ? 0 : ripple, 1)} of its mean.`
      : `Away from the border ${counts.length > 1 ? `some pixels are made of ${counts[0]} weights, others of ${counts.at(-1)}` : `every pixel is made of ${counts[0]} weights`}.`;
  }
  root.replaceChildren(h("div", {class: "controls"}, way, kernel, source, seed), h("div", {class: "views"}, views), shown, said);
  update();
});
