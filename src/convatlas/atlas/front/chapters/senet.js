"use strict";
/* Chapter 8: the gates of a trained network, on what the visitor draws or brings. */

atlas.widget("gates", async (root) => {
  const {h} = atlas, c = atlas.chapters, {digit, rgba, bars, plane} = atlas.running, SIZE = 56, EACH = 12;
  const net = await atlas.network("resnet20_cifar.digits-se"), {pixels, labels} = await atlas.load("digits8"), shipped = atlas.bytes(pixels);
  const gated = net.steps.map((step, i) => [step.name, i]).filter(([name]) => name.endsWith("excite_expand"));
  const names = gated.map(([name], i) => `gate ${i + 1}, ${name.replace(/^stages_(\d+)_(\d+)_.*/, (_, stage, block) => `stage ${+stage + 1}, block ${+block + 1}`)}`);
  const seen = plane("What the network sees", new Float32Array(net.height * net.width), net.height, net.width, {low: -1, high: 1, size: 112});
  const answer = h("div"), strips = h("div", {class: "strips"}), plotted = h("div"), detail = h("div", {class: "strips rows"}), said = c.told(), made = h("div");
  const chosen = atlas.choice("Gate", names.map((name, i) => [i, name]), names.length - 1, draw);
  const all = h("button", {type: "button", on: {click: classes}}, `Ask ${10 * EACH} digits for the means of their classes`);
  let gates = null, means = null;
  /** The gates of an image, one array per gate. */
  const answered = (image) => {
    const found = net.run(image), maps = found.maps();
    return {scores: found.scores, gates: gated.map(([, i]) => maps[i].values)};
  };
  function show(picture, width, height) {
    const image = net.prepare(picture, width, height), {scores, gates: now} = answered(image), shares = net.shares(scores);
    gates = now;
    atlas.paint(seen, image, net.height, net.width, {low: -1, high: 1});
    const best = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, 3);
    answer.replaceChildren(bars(best.map((i) => [net.names[i], shares[i]])));
    strips.replaceChildren(...gates.map((values, i) => h("figure", {}, plane(`${names[i]}: ${values.length} gains, black 0 and white 1`, values, 1, values.length, {low: 0, high: 1, size: 100}), h("figcaption", {}, names[i]))));
    draw();
  }
  /** The gains of the chosen gate as rows: of this picture, and of each class; then how far classes lie apart in every gate. */
  function draw() {
    if (!gates) return;
    const at = chosen.value, rows = [["this picture", gates[at]], ...(means || []).map((of, label) => [`mean of ${net.names[label]}`, of[at]])];
    detail.replaceChildren(...rows.map(([name, values]) => h("figure", {}, h("figcaption", {}, name),
      plane(`${name}, ${names[at]}: ${values.length} gains, black 0 and white 1`, values, 1, values.length, {low: 0, high: 1, size: 100}))));
    said.textContent = `Gains of ${names[at]} lie between ${Math.min(...gates[at]).toFixed(2)} and ${Math.max(...gates[at]).toFixed(2)}.`;
    if (!means) return;
    const deviation = (values) => { const mean = values.reduce((a, b) => a + b, 0) / values.length; return Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length); };
    const spread = gated.map((_, gate) => { const count = means[0][gate].length; return Array.from({length: count}, (_, i) => deviation(means.map((of) => of[gate][i]))).reduce((a, b) => a + b, 0) / count; });
    atlas.plot(plotted, {title: "How far the classes' mean gains lie apart, gate by gate", height: 220, lines: [{name: "between classes", points: spread.map((value, i) => [i + 1, value])}],
      x: {label: "gate, from first to last"}, y: {label: "deviation between classes", min: 0}});
    said.textContent += ` Between the classes they deviate by ${spread[0].toFixed(3)} in the first gate and ${spread.at(-1).toFixed(3)} in the last.`;
  }
  /** The mean gains of each class, a few images each turn. */
  async function classes() {
    all.disabled = true;
    const sums = Array.from({length: 10}, () => null), counts = Array(10).fill(0);
    for (let i = 0; i < labels.length && counts.some((count) => count < EACH); i++) {
      if (counts[labels[i]] === EACH) continue;
      const now = answered(net.prepare(rgba(shipped.slice(i * 64, i * 64 + 64).map((count) => Math.round(count * 255 / 16))), 8, 8)).gates;
      counts[labels[i]]++;
      sums[labels[i]] = now.map((values, gate) => values.map((value, k) => value + (sums[labels[i]]?.[gate][k] ?? 0)));
      if (i % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    means = sums.map((of, label) => of.map((values) => values.map((value) => value / counts[label])));
    draw();
  }
  const shipDigit = (label) => { const i = labels.indexOf(label); return rgba(shipped.slice(i * 64, i * 64 + 64).map((count) => Math.round(count * 255 / 16))); };
  const file = h("input", {type: "file", accept: "image/*", id: "gates-own"});
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    const address = URL.createObjectURL(file.files[0]), image = new Image();
    image.src = address;
    try { await image.decode(); } catch { said.textContent = "This is no picture that the browser reads."; return; } finally { URL.revokeObjectURL(address); }
    const canvas = h("canvas", {width: 64, height: 64}), context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 64, 64);
    show(context.getImageData(0, 0, 64, 64).data, 64, 64);
  });
  root.replaceChildren(h("div", {class: "beside"}, h("div", {}, made, h("p", {class: "control own"}, h("label", {for: "gates-own"}, "or a picture of your own; it stays on this machine"), file)),
    h("div", {}, h("p", {class: "note"}, "Digits that come along:"), h("p", {class: "buttons"}, net.names.map((name, label) => h("button", {type: "button", "aria-label": `Show a ${name}`, on: {click: () => show(shipDigit(label), 8, 8)}}, name))), seen, answer),
    h("div", {}, h("h4", {}, "All gates, first to last"), strips)),
  h("div", {class: "controls"}, chosen), all, detail, said, plotted);
  atlas.pad(made, {size: SIZE, width: 200, pen: 5, label: "Draw a digit", changed: atlas.paced((ink) => show(rgba(digit(ink, SIZE)), 8, 8))});
  show(shipDigit(3), 8, 8);
});
