"use strict";
/* Chapter 1: a digit through LeNet-5: its maps, and how far F6 is from each class's picture. */

atlas.widget("lenet-draw", async (root) => {
  const {h} = atlas, {digit, rgba, maps, plane} = atlas.running;
  const net = await atlas.network("lenet5.digits"), size = 56;
  const seen = plane("What the network sees", new Float32Array(64), 8, 8, {low: 0, high: 255, size: 96});
  const answer = h("p", {class: "told", "aria-live": "polite"}), distances = h("div"), layers = h("div");
  const sides = h("div", {class: "beside"});
  const show = (ink) => {
    const cells = digit(ink, size);
    atlas.paint(seen, cells, 8, 8, {low: 0, high: 255});
    if (!cells.some(Boolean)) {
      answer.textContent = "Draw a digit.";
      distances.replaceChildren();
      layers.replaceChildren();
      return;
    }
    const {scores, maps: all} = net.run(net.prepare(rgba(cells), 8, 8)), shares = net.shares(scores);
    const best = scores.indexOf(Math.max(...scores)), far = Math.max(...scores.map((score) => -score));
    answer.textContent = `${net.names[best]}: F6 is ${(-scores[best]).toFixed(1)} from its picture, squared; ${atlas.format.percent(shares[best])} of the shares.`;
    distances.replaceChildren(h("dl", {class: "bars shares"}, net.names.map((name, i) => h("div", {class: i === best ? "best" : null}, h("dt", {}, name),
      h("dd", {}, h("i", {style: {width: `${-100 * scores[i] / far}%`}}), h("span", {}, (-scores[i]).toFixed(1)))))));
    layers.replaceChildren(...all().filter((map, i) => net.steps[i].weight !== null && !["pad", "copy"].includes(map.kind)).map((map) =>
      h("div", {class: "layer"}, h("h4", {}, map.layer, " ", h("span", {class: "soft"}, `${map.channels} × ${map.height}×${map.width}`)), maps(map))));
  };
  const made = h("div");
  root.replaceChildren(sides);
  sides.append(made, h("div", {}, h("p", {class: "note"}, "What the network sees: 8×8 pixels, as its training data has them."), seen), h("div", {}, h("h4", {}, "Squared distances"), distances));
  root.append(answer, layers);
  let waiting = null;
  const drawn = atlas.pad(made, {size, width: 224, pen: 6, label: "Draw a digit", changed: (ink) => {
    if (waiting === null) requestAnimationFrame(() => { const now = waiting; waiting = null; show(now); });
    waiting = ink;
  }});
  show(drawn.values);
});
