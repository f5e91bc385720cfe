"use strict";
/* Networks in the page: the kernels as WebAssembly, weights in half precision from data/NAME.net.js. */

(() => {
  const opened = new Map();
  let engine = null;

  /** The network of that name, ready to answer: {channels, height, width, classes, names, run(image), prepare(…), shares(…)}, as
      convatlas.js tells; `hidden`, `pooled` and `linear` are numbers of steps, null where there is none (networks.py). */
  atlas.network = (name) => {
    if (!opened.has(name)) {
      opened.set(name, (async () => {
        engine ??= atlas.load("engine").then((text) => WebAssembly.compile(atlas.bytes(text)));
        const [wasm, {about, plan, weights, ...rest}] = await Promise.all([engine, atlas.load(`${name}.net`)]);
        const file = atlas.bytes(weights);
        return {...await convatlas.open({wasm, about, plan, weights: file, maps: true}), ...rest, weights: (step) => halves(file, `${step}.weight`)};
      })());
      opened.get(name).catch(() => opened.delete(name));
    }
    return opened.get(name);
  };

  /** An array of a safetensors file in half precision. */
  function halves(file, name) {
    const view = new DataView(file.buffer), head = Number(view.getBigUint64(0, true));
    const {data_offsets: [from, to]} = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + head)))[name];
    return Float32Array.from({length: (to - from) / 2}, (_, i) => {
      const bits = view.getUint16(8 + head + from + 2 * i, true), power = bits >> 10 & 31, rest = bits & 1023;
      return (bits >> 15 ? -1 : 1) * (power ? (1 + rest / 1024) * 2 ** (power - 15) : rest * 2 ** -24);
    });
  }
})();
