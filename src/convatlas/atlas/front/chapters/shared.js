"use strict";
/* What several chapters share: views of planes, pictures to choose or bring along, digits, words about numbers. */

atlas.chapters = (() => {
  const {h} = atlas;

  /** A view of one plane, or of three as colours, crisp, with a caption; `show` paints it and is asked again when the
      colours change. `low` and `high` are black and white; `signed` shows 0 as the page, + and − as two colours. */
  function view(label, {wide = 160, caption = label} = {}) {
    const canvas = h("canvas", {class: "crisp view", role: "img", "aria-label": label, width: 1, height: 1});
    const words = h("figcaption", {}, caption);
    let last = null;
    const paint = () => {
      const {values, channels = 1, height, width, low, high, signed, channel = 0} = last;
      const colors = channels === 3 && channel === null, area = height * width;
      atlas.paint(canvas, colors ? values : values.subarray(channel * area, (channel + 1) * area), height, width, {low, high, signed: signed && !colors, channels: colors ? 3 : 1});
    };
    addEventListener("atlas:theme", () => last && paint());
    return Object.assign(h("figure", {class: "shown", style: {width: `${wide}px`}}, canvas, words), {canvas,
      show(planes, how = {}) { last = {...planes, ...how}; paint(); },
      say(text) { words.textContent = text; canvas.setAttribute("aria-label", `${label}: ${text}`); }});
  }

  /** The shipped digits of 8×8: images as numbers from 0 to 1 in one array, labels. */
  async function digits() {
    const {pixels, labels} = await atlas.load("digits8");
    return {images: Float64Array.from(atlas.bytes(pixels), (each) => each / 16), labels};
  }

  /** The planes of a picture (red, green, blue; 0 to 1), at most `most` pixels on its longer side. */
  function planes(picture, most = 160) {
    const by = Math.min(1, most / Math.max(picture.width, picture.height));
    const width = Math.max(8, Math.round(picture.width * by)), height = Math.max(8, Math.round(picture.height * by));
    const canvas = h("canvas", {width, height}), context = canvas.getContext("2d", {willReadFrequently: true});
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, width, height);
    const {data} = context.getImageData(0, 0, width, height), area = width * height, values = new Float64Array(3 * area);
    for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) values[c * area + i] = data[i * 4 + c] / 255;
    return {values, channels: 3, height, width};
  }
  /** The mean of the colours, as one plane. */
  function gray({values, height, width}) {
    const area = height * width;
    return {values: Float64Array.from({length: area}, (_, i) => (values[i] + values[area + i] + values[2 * area + i]) / 3), channels: 1, height, width};
  }
  function decoded(source) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("this is no picture that the browser reads"));
      image.src = source;
    });
  }

  /** A choice of the shipped pictures, or of the visitor's own, which stays here. `changed(planes)` is called with each. */
  async function picture(host, changed, {most = 160, first = 0} = {}) {
    const shipped = await atlas.load("pictures"), said = h("p", {class: "note", "aria-live": "polite"});
    const open = async (source) => {
      try { changed(planes(await decoded(source), most)); said.textContent = ""; } catch (error) { said.textContent = error.message; }
    };
    const chosen = atlas.choice("Picture", shipped.map(({name}, i) => [i, name]), first, (i) => open(shipped[i].source));
    const id = `file-${Math.random().toString(36).slice(2)}`;
    const file = h("input", {type: "file", accept: "image/*", id});
    file.addEventListener("change", async () => {
      if (!file.files.length) return;
      const address = URL.createObjectURL(file.files[0]);
      await open(address);
      URL.revokeObjectURL(address);
      chosen.set(null);
    });
    host.append(h("div", {class: "controls"}, chosen,
      h("div", {class: "control own"}, h("label", {for: id}, "or your own; it stays on this machine"), file)), said);
    await open(shipped[first].source);
  }

  /** A place whose words are read out when they change. */
  const told = () => h("p", {class: "told", "aria-live": "polite"});

  /** A place on a canvas by pointer or arrow keys: `changed(row, column)` in its pixels. */
  function pointed(element, label, size, changed) {
    let at = [0, 0];
    const put = (row, column) => {
      const {height, width} = size();
      at = [Math.max(0, Math.min(height - 1, row)), Math.max(0, Math.min(width - 1, column))];
      changed(...at);
    };
    Object.entries({tabindex: "0", role: "application", "aria-label": `${label}; arrow keys move`}).forEach(([name, value]) => element.setAttribute(name, value));
    const from = (event) => {
      const box = element.getBoundingClientRect(), {height, width} = size();
      put(Math.floor((event.clientY - box.top) / box.height * height), Math.floor((event.clientX - box.left) / box.width * width));
    };
    element.addEventListener("pointerdown", (event) => { element.setPointerCapture(event.pointerId); from(event); });
    element.addEventListener("pointermove", (event) => { if (event.buttons) from(event); });
    element.addEventListener("keydown", (event) => {
      const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
      if (!by) return;
      event.preventDefault();
      const far = event.shiftKey ? 10 : 1;
      put(at[0] + by[0] * far, at[1] + by[1] * far);
    });
    return put;
  }

  /** Bars with names and numbers: rows of [name, value, words]. */
  function bars(host, rows, most = Math.max(...rows.map((row) => row[1]))) {
    host.replaceChildren(h("dl", {class: "bars"}, rows.map(([name, value, words, kind]) => h("div", {class: kind || null},
      h("dt", {}, name), h("dd", {}, h("i", {style: {width: `${Math.max(0, 100 * value / (most || 1))}%`}}), h("span", {}, words))))));
  }

  /** A small square of numbers: a kernel, coloured by sign, with its numbers as text. */
  function kernel(label, values, side, most = Math.max(...values.map(Math.abs))) {
    const said = (value) => value.toFixed(2).replace(/^-(0\.00)$/, "$1");
    return h("figure", {class: "kernel"}, h("div", {class: "cells", style: {"grid-template-columns": `repeat(${side}, 1fr)`}, role: "img",
      "aria-label": `${label}: ${Array.from(values, said).join(", ")}`},
      Array.from(values, (value) => h("span", {class: value < 0 ? "minus" : "plus", style: {"--by": `${Math.round(80 * Math.min(1, Math.abs(value) / (most || 1)))}%`}},
        said(value)))), h("figcaption", {}, label));
  }

  return {view, digits, planes, gray, picture, told, pointed, bars, kernel};
})();
