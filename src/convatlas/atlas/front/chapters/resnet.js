"use strict";
/* Chapter 6: gradients by depth, with and without shortcuts. */

atlas.widget("gradients", async (root) => {
  const {h} = atlas, m = atlas.maths, c = atlas.chapters, IMAGES = 48;
  const {images, labels} = await c.digits();
  const redraw = atlas.paced(update);
  const depth = atlas.slider("Layers", {min: 3, max: 61, step: 2, value: 41, format: String}, redraw);
  const norm = atlas.toggle("Normalise each layer over the batch", true, redraw);
  const scale = atlas.slider("First weights, times He's deviation", {min: 0.7, max: 1.3, step: 0.05, value: 1}, redraw);
  const seed = atlas.slider("Seed", {min: 0, max: 9, step: 1, value: 0, format: String}, redraw);
  const plotted = h("div"), said = c.told();
  function update() {
    const how = {depth: depth.value, norm: norm.value, scale: scale.value, seed: seed.value}, few = labels.slice(0, IMAGES);
    const both = [["plain", false], ["with shortcuts", true]].map(([name, shortcut]) => ({name, ...m.byDepth(images, few, {...how, shortcut})}));
    atlas.plot(plotted, {title: "Gradient of the loss by the weights of each layer, root mean square", height: 280,
      lines: both.map(({name, gradients}) => ({name, points: gradients.map((value, l) => [l + 1, value])})),
      x: {label: "layer, from the image to the scores"}, y: {label: "gradient", log: true}});
    said.textContent = "From the last layer to the first the gradient grows " + both.map(({name, gradients}) => `${atlas.format.plain(gradients[0] / gradients.at(-1))}-fold ${name}`).join(", ") + ".";
  }
  root.replaceChildren(h("div", {class: "controls"}, depth, scale, seed, norm), plotted, said);
  update();
});
