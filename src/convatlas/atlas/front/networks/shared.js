"use strict";
/* What pages with running networks share: a plane of numbers as a picture, digits as the shipped data has them, bars. */

atlas.running = (() => {
  const {h} = atlas;

  /** A picture of numbers, crisp: one plane black to white, or three as colours; `signed` shows 0 as the page. */
  function plane(label, values, height, width, {low, high, signed = false, size = 96, channels = 1} = {}) {
    const canvas = h("canvas", {width, height, class: "crisp", role: "img", "aria-label": label, style: {width: `${size}px`, "aspect-ratio": `${width} / ${height}`}});
    atlas.paint(canvas, values, height, width, {low, high, signed, channels});
    return canvas;
  }
  /** Bytes of one channel as RGBA, which `prepare` takes. */
  function rgba(bytes) {
    const found = new Uint8ClampedArray(4 * bytes.length);
    for (let i = 0; i < bytes.length; i++) found.set([bytes[i], bytes[i], bytes[i], 255], 4 * i);
    return found;
  }

  /** Ink on a pad as a digit of the shipped data: what is drawn fills 8×8 cells and is centred, each cell the mean of its ink; bytes. */
  function digit(ink, size) {
    let [top, bottom, left, right] = [size, -1, size, -1];
    for (let i = 0; i < ink.length; i++) {
      if (ink[i] < 0.2) continue;
      const y = Math.floor(i / size), x = i % size;
      top = Math.min(top, y); bottom = Math.max(bottom, y); left = Math.min(left, x); right = Math.max(right, x);
    }
    const cells = new Uint8Array(64);
    if (bottom < 0) return cells;
    const side = Math.max(bottom - top, right - left) + 1, fine = 8;
    const [y0, x0] = [(top + bottom + 1 - side) / 2, (left + right + 1 - side) / 2];
    for (let cell = 0; cell < 64; cell++) {
      let sum = 0;
      for (let i = 0; i < fine * fine; i++) {
        const y = Math.floor(y0 + ((cell >> 3) + (Math.floor(i / fine) + 0.5) / fine) * side / 8);
        const x = Math.floor(x0 + ((cell & 7) + (i % fine + 0.5) / fine) * side / 8);
        if (y >= 0 && y < size && x >= 0 && x < size) sum += ink[y * size + x];
      }
      cells[cell] = Math.round(Math.round(16 * sum / fine ** 2) * 255 / 16);        // the data counts 16 pixels of a block
    }
    return cells;
  }

  /** Bars of shares: rows of [name, share]. */
  const bars = (rows) => h("dl", {class: "bars shares"}, rows.map(([name, share]) => h("div", {}, h("dt", {}, name),
    h("dd", {}, h("i", {style: {width: `${100 * share}%`}}), h("span", {}, atlas.format.percent(share))))));

  /** The maps of a layer as small pictures, at most `most`. */
  function maps({layer, channels, height, width, values}, most = 32) {
    const area = height * width, shown = Math.min(channels, most);
    if (area === 1) {
      const wide = Math.min(channels, 42), high = Math.ceil(channels / wide), padded = new Float32Array(wide * high);
      padded.set(values.subarray(0, channels));
      return h("div", {class: "maps"}, plane(`${layer}: ${channels} numbers, blue above 0 and orange below`, padded, high, wide, {signed: true, size: 14 * wide}));
    }
    return h("div", {class: "maps"}, Array.from({length: shown}, (_, c) =>
      plane(`${layer}, map ${c + 1}`, values.subarray(c * area, (c + 1) * area), height, width, {signed: true, size: Math.max(48, Math.min(96, 3 * width))})),
      shown < channels ? h("p", {class: "note"}, `and ${channels - shown} more`) : null);
  }

  return {plane, rgba, digit, bars, maps};
})();
