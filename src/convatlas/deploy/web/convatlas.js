"use strict";
/* A network that `convatlas deploy RUN --out DIR --target wasm` wrote, in a browser or in node; nothing leaves the machine.

     const net = await convatlas.fetch("DIR");                    // in a page; or convatlas.open({wasm, about, plan, weights, maps})
     const {scores} = net.run(net.prepare(pixels, width, height));        // RGBA bytes, as a canvas gives them
     net.shares(scores)                                          // what each class gets of 1, in the order of net.names

   A classic script, which makes `convatlas`; also `require("./convatlas.js")` and, in a module, `import "./convatlas.js"`. */

(function (global) {
  /** Open a network. `wasm`, `weights`: bytes (or a compiled WebAssembly.Module); `about` and `plan`: deploy.json and native.json,
      as text. With `maps` every step's map can be read after an image; without, the network takes less memory. */
  async function open({wasm, about, plan, weights, maps = false}) {
    let memory;
    const refuse = (at, count) => { throw new Error(new TextDecoder().decode(new Uint8Array(memory.buffer, at, count))); };
    const module = wasm instanceof WebAssembly.Module ? wasm : await WebAssembly.compile(wasm);
    const {exports: engine} = await WebAssembly.instantiate(module, {convatlas: {refuse}});
    memory = engine.memory;
    engine._initialize();
    const room = (count) => engine.malloc(count) >>> 0 || refuse(0, 0);
    const hold = (bytes) => {
      const at = room(bytes.byteLength);
      new Uint8Array(memory.buffer, at, bytes.byteLength).set(new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength));
      return at;
    };
    const text = new TextEncoder().encode(plan), held = [hold(text), hold(weights)];
    const network = engine.convatlas_open_bytes(held[0], text.length, held[1], weights.byteLength, maps ? 1 : 0);
    held.forEach((at) => engine.free(at));
    const {input, classes, loss, segments = false} = JSON.parse(about), steps = JSON.parse(plan).steps;
    const [channels, height, width] = [engine.convatlas_channels(network), engine.convatlas_height(network), engine.convatlas_width(network)];
    const count = engine.convatlas_results(network), image = room(4 * channels * height * width), results = room(4 * count);
    const floats = (at, many) => new Float32Array(memory.buffer, at, many).slice();
    const names = Array.from({length: engine.convatlas_classes(network)}, (_, i) => classes[i] ?? String(i));

    /** Every step's map, in the order in which they are made: {layer, kind, channels, height, width, values (c, h, w)}. */
    function all() {
      if (!maps) throw new Error("the network was opened without maps: open({…, maps: true})");
      return steps.flatMap(({name, kind, result: [buffer, h, w, c]}, i) => {
        if (buffer === null) return [];
        const at = room(4 * c * h * w);
        engine.convatlas_map(network, i, at);
        const values = floats(at, c * h * w);
        engine.free(at);
        return [{layer: name, kind, channels: c, height: h, width: w, values}];
      });
    }
    return {
      channels, height, width, classes: names.length, names, segments, steps,
      /** Scores of an image (channels, height, width), before any softmax; `maps()` tells of the last image. */
      run(values) {
        if (values.length !== channels * height * width) {
          throw new Error(`the network takes ${channels} × ${height} × ${width} numbers, not ${values.length}`);
        }
        new Float32Array(memory.buffer, image, values.length).set(values);
        engine.convatlas_scores(network, image, 1n, results);
        return {scores: floats(results, count), maps: all};
      },
      /** RGBA bytes of a picture to an image: resized, its centre taken, normalised. */
      prepare: (pixels, wide, high) => prepared(pixels, wide, high, channels, input),
      /** Scores to shares of 1. */
      shares: (scores) => shares(scores, loss.name),
      close() { engine.convatlas_close(network); },
    };
  }

  /** Open the network whose folder is at this address; `maps` as for `open`. */
  async function fetched(folder = ".", {maps = false} = {}) {
    const [wasm, about, plan, weights] = await Promise.all(["convatlas.wasm", "deploy.json", "native.json", "native.safetensors"].map(async (name) => {
      const found = await fetch(`${folder}/${name}`);
      if (!found.ok) throw new Error(`${name} cannot be read: ${found.status} ${found.statusText}`);
      return name.endsWith(".json") ? found.text() : found.arrayBuffer();
    }));
    return open({wasm, about, plan, weights, maps});
  }

  function shares(scores, loss) {
    if (loss === "bce") return scores.map((score) => 1 / (1 + Math.exp(-score)));
    const most = Math.max(...scores), found = Float64Array.from(scores, (score) => loss === "mse" ? Math.max((1 + score) / 2, 1e-6) : Math.exp(score - most));
    const sum = found.reduce((a, b) => a + b, 0);
    return Float32Array.from(found, (share) => share / sum);
  }

  function prepared(pixels, wide, high, channels, {resize: [boxHigh, boxWide], size: [h, w], mean, std, interpolation}) {
    const count = channels === 1 ? 1 : 3, f = Math.fround;
    let planes = Array.from({length: count}, () => new Uint8Array(wide * high));
    for (let i = 0; i < wide * high; i++) {
      const [r, g, b] = [pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2]];
      if (r === g && g === b) planes.forEach((plane) => { plane[i] = r; });           // a grey picture, as far as one can see here
      else if (count === 1) planes[0][i] = f(f(f(r * f(0.2989)) + f(g * f(0.587))) + f(b * f(0.114)));       // ITU-R BT.601, cut off to bytes
      else planes[0][i] = r, planes[1][i] = g, planes[2][i] = b;
    }
    const tall = boxHigh * wide >= boxWide * high;
    const [toHigh, toWide] = tall ? [boxHigh, Math.floor(boxHigh * wide / high)] : [Math.floor(boxWide * high / wide), boxWide];
    planes = planes.map((plane) => resized(resized(plane, wide, high, toWide, interpolation, true), toWide, high, toHigh, interpolation, false));
    const even = (half) => Math.floor(half) + (half % 1 ? Math.floor(half) % 2 : 0);          // halves to the even number, as Python rounds
    const centre = (have, want) => want > have ? [0, (want - have) >> 1] : [even((have - want) / 2), 0];
    const [[top, toTop], [left, toLeft]] = [centre(toHigh, h), centre(toWide, w)];
    const image = new Float32Array(channels * h * w);
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < h * w; i++) {
        const y = top + Math.floor(i / w) - toTop, x = left + i % w - toLeft;
        const value = y >= 0 && y < toHigh && x >= 0 && x < toWide ? planes[c % count][y * toWide + x] : 0;
        image[c * h * w + i] = f(f(f(value / 255) - f(mean[c % mean.length])) / f(std[c % std.length]));
      }
    }
    return image;
  }

  /** A plane of bytes with other columns (or rows): by the filter, stretched where it shrinks, in whole numbers as Pillow does it. */
  function resized(plane, wide, high, to, interpolation, across) {
    const [have, lines] = across ? [wide, high] : [high, wide];
    if (have === to) return plane;
    const scale = have / to, stretch = Math.max(scale, 1), reach = (interpolation === "bicubic" ? 2 : 1) * stretch;
    const filter = interpolation === "bicubic"
      ? (x) => x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0 : (x) => Math.max(0, 1 - x);
    const found = new Uint8Array(to * lines);
    for (let o = 0; o < to; o++) {
      const middle = (o + 0.5) * scale, nearest = interpolation === "nearest";
      const first = nearest ? Math.floor(middle) : Math.max(0, Math.trunc(middle - reach + 0.5)), last = nearest ? first + 1 : Math.min(have, Math.trunc(middle + reach + 0.5));
      const weights = Array.from({length: last - first}, (_, i) => nearest ? 1 : filter(Math.abs((i + first - middle + 0.5) / stretch)));
      const sum = weights.reduce((a, b) => a + b, 0), whole = weights.map((weight) => Math.trunc(weight / sum * 2 ** 22 + (weight < 0 ? -0.5 : 0.5)));
      for (let line = 0; line < lines; line++) {
        let value = 2 ** 21;
        for (let i = first; i < last; i++) value += whole[i - first] * (across ? plane[line * wide + i] : plane[i * wide + line]);
        found[across ? line * to + o : o * wide + line] = Math.max(0, Math.min(255, Math.floor(value / 2 ** 22)));
      }
    }
    return found;
  }

  const made = {open, fetch: fetched, prepared, shares};
  global.convatlas = made;
  if (typeof module === "object" && module.exports) module.exports = made;
})(globalThis);
