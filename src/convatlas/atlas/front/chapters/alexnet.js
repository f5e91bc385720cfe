"use strict";
/* Chapter 2: ReLU and tanh side by side, local response normalisation, overlapping pooling. */

atlas.widget("relu-tanh", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters, TRAINED = 1000, BATCH = 20, LAST = 30, AIMS = [25, 15, 5];
  const {images, labels} = await c.digits();
  const NETS = [["ReLU", "relu", 0.03], ["tanh", "tanh", 0.03]];
  const rate = (label, value) => atlas.slider(label, {min: -3, max: -0.5, step: 0.25, value: Math.log10(value), format: (x) => String(+(10 ** x).toPrecision(2))}, begin);
  const rates = NETS.map(([name, , value]) => rate(`Learning rate, ${name}`, value));
  const seed = atlas.slider("Seed", {min: 0, max: 9, step: 1, value: 0, format: String}, begin);
  const go = h("button", {type: "button", class: "main", on: {click: () => running ? pause() : run()}}, "Train both");
  const plotted = h("div"), said = c.told();
  let nets, speeds, order, at, curves, running = false;
  function begin() {
    pause();
    nets = NETS.map(([, act]) => m.small(seed.value, act));
    speeds = nets.map(m.still);
    curves = nets.map((net) => [[0, error(net)]]);
    at = [0, 0];
    order = m.shuffled(m.uniform(seed.value + 1000), TRAINED);
    draw();
  }
  function error(net) {
    let wrong = 0;
    for (let i = 0; i < TRAINED; i++) wrong += !m.learn(net, images.subarray(i * 64, i * 64 + 64), labels[i]).right;
    return 100 * wrong / TRAINED;
  }
  function draw() {
    atlas.plot(plotted, {title: "Training error of both networks after each epoch", height: 260,
      lines: NETS.map(([name], i) => ({name, points: curves[i]})), x: {label: "epoch", min: 0, max: LAST}, y: {label: "training error, %", min: 0, max: 100}});
    const reached = (curve, aim) => curve.find(([, y]) => y <= aim)?.[0];
    const epochs = curves[0].length - 1;
    said.textContent = epochs ? `After ${epochs} ${epochs === 1 ? "epoch" : "epochs"}: ` + NETS.map(([name], i) => `${name} ${curves[i].at(-1)[1].toFixed(1)} % wrong`).join(", ")
      + ". " + AIMS.map((aim) => { const [a, b] = curves.map((curve) => reached(curve, aim)); return a || b ? `${aim} %: ReLU ${a ? `in ${a}` : "not yet"}, tanh ${b ? `in ${b}` : "not yet"}` : null; }).filter(Boolean).join("; ") : "Not trained yet.";
  }
  function pause() { running = false; go.textContent = "Train both"; }
  function run() {
    if (curves[0].length > LAST) begin();
    running = true;
    go.textContent = "Pause";
    slice();
  }
  /** A few milliseconds of both networks, image for image in step; then the page has its turn. */
  function slice() {
    if (!running) return;
    const until = performance.now() + 12;
    while (performance.now() < until) {
      const batch = order.slice(at[0], at[0] + BATCH);
      nets.forEach((net, i) => m.step(net, speeds[i], images, labels, batch, 10 ** rates[i].value));
      at[0] += BATCH;
      if (at[0] >= TRAINED) {
        at = [0, at[1] + 1];
        order = m.shuffled(m.uniform(seed.value + 1000 + at[1]), TRAINED);
        nets.forEach((net, i) => curves[i].push([at[1], error(net)]));
        draw();
        if (at[1] >= LAST) { pause(); return; }
        break;
      }
    }
    setTimeout(slice, 0);
  }
  root.replaceChildren(h("div", {class: "controls"}, ...rates, seed), go, plotted, said);
  begin();
});

atlas.widget("response-norm", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters, MAPS = 16;
  const size = atlas.slider("Maps in the sum, n", {min: 1, max: MAPS - 1, step: 2, value: 5, format: String}, update);
  const alpha = atlas.slider("α", {min: -4, max: 3, step: 0.25, value: 2, format: (x) => String(+(10 ** x).toPrecision(2))}, update);
  const beta = atlas.slider("β", {min: 0, max: 1.5, step: 0.05, value: 0.75}, update);
  const k = atlas.slider("k", {min: 0.5, max: 4, step: 0.1, value: 2}, update);
  const before = [], after = [], plotted = h("div"), said = c.told();
  const shownMaps = [0, 2, 4, 6];
  for (const o of shownMaps) {
    before.push(c.view(`Edges at ${o * 360 / MAPS}°, as they are`, {wide: 120, caption: `${o * 360 / MAPS}°`}));
    after.push(c.view(`Edges at ${o * 360 / MAPS}°, normalised`, {wide: 120, caption: "normalised"}));
  }
  let maps = null, spot = [40, 40];
  const kernels = m.edges(MAPS, 7);
  const put = c.pointed(before[0].canvas, "Choose a pixel", () => maps || {height: 1, width: 1}, (row, column) => { spot = [row, column]; update(); });
  function update() {
    if (!maps) return;
    const how = {size: size.value, k: k.value, alpha: 10 ** alpha.value, beta: beta.value}, b = m.respond(maps, how);
    shownMaps.forEach((o, i) => { before[i].show(maps, {channel: o, low: 0}); after[i].show(b, {channel: o, low: 0}); });
    const area = maps.height * maps.width, i = spot[0] * maps.width + spot[1], back = how.k ** how.beta;
    const at = (planes, by) => Array.from({length: MAPS}, (_, o) => [o * 360 / MAPS, by * planes.values[o * area + i]]);
    atlas.plot(plotted, {title: "Answers of the sixteen maps at one pixel", height: 220, x: {label: "direction of the edge, degrees", min: 0, max: 340}, y: {label: "answer", min: 0},
      lines: [{name: "a, as it is", points: at(maps, 1)}, {name: "b · kᵝ, normalised", points: at(b, back)}]});
    let one = 0, two = 0;
    for (let j = 0; j < area; j++) { let high = 0; for (let o = 0; o < MAPS; o++) high = Math.max(high, maps.values[o * area + j]); one = Math.max(one, high); }
    let most = 0;
    for (const value of b.values) most = Math.max(most, value * back);
    two = most;
    said.textContent = `The strongest answer of the picture falls from ${one.toFixed(3)} to ${two.toFixed(3)} (times kᵝ); pixel in row ${spot[0]}, column ${spot[1]}.`;
  }
  root.replaceChildren();
  await c.picture(root, (planes) => {
    maps = m.rectified(m.convolve(c.gray(planes), kernels, {cout: MAPS, kernel: 7}));
    let strong = 0;
    const area = maps.height * maps.width;
    for (let i = 0; i < area; i++) if (maps.values[i] > maps.values[strong]) strong = i;
    put(Math.floor(strong / maps.width), strong % maps.width);
  }, {most: 112});
  root.append(h("div", {class: "views"}, before.map((each, i) => h("div", {class: "pair"}, each, after[i]))),
    h("div", {class: "controls"}, size, alpha, beta, k), plotted, said);
});

atlas.widget("overlap", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters;
  const shift = atlas.slider("Move the picture to the right, pixels", {min: 0, max: 4, step: 1, value: 1, format: String}, update);
  const kind = atlas.choice("Pooling", [["max", "maximum"], ["mean", "mean"]], "max", update);
  const views = [c.view("Map of edges", {wide: 200}), c.view("2×2 pooling with stride 2", {wide: 200}), c.view("3×3 pooling with stride 2", {wide: 200})], said = c.told();
  let picture = null;
  const kernels = m.edges(16, 5).slice(0, 25);
  const moved = (planes, by) => ({...planes, values: planes.values.map((_, i) => { const x = i % planes.width; return planes.values[i - Math.min(x, by)]; })});
  function update() {
    if (!picture) return;
    const map = (by) => m.rectified(m.convolve(moved(picture, by), kernels, {kernel: 5}));
    const still = map(0), now = map(shift.value), words = [];
    views[0].show(now, {low: 0});
    [2, 3].forEach((kernel, i) => {
      const a = m.pool(still, kernel, 2, kind.value), b = m.pool(now, kernel, 2, kind.value);
      views[i + 1].show(b, {low: 0});
      let off = 0, whole = 0;
      for (let j = 0; j < a.values.length; j++) { off += (a.values[j] - b.values[j]) ** 2; whole += a.values[j] ** 2; }
      const share = Math.sqrt(off / (whole || 1));
      views[i + 1].say(`${kernel}×${kernel}, stride 2: ${b.height}×${b.width}`);
      words.push(`${kernel}×${kernel} ${atlas.format.percent(share, 1)}`);
    });
    views[0].say(`the map, ${now.height}×${now.width}`);
    said.textContent = shift.value ? `Moved by ${shift.value} px, the pooled maps change by ${words.join(", ")} of their size.` : "Move the picture: what changes behind each pooling?";
  }
  root.replaceChildren();
  await c.picture(root, (planes) => { picture = c.gray(planes); update(); }, {most: 128});
  root.append(h("div", {class: "controls"}, shift, kind), h("div", {class: "views"}, views), said);
  update();
});
