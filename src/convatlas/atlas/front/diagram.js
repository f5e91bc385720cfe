"use strict";
/* A network's diagram: every layer in its place, drawn once into a few paths (one per kind of layer and per stretch of the
   drawing), so that panning moves one group and the number of nodes does not grow with the network. */

(() => {
  const {h, s, format} = atlas;
  const GAP = 5, PAD = 9, JOINT = 3.4, LANE = 15, STRETCH = 3000, LABELS = 60;
  const KINDS = {
    conv: "convolution", point: "1×1 convolution", deep: "depthwise or grouped convolution", pool: "pooling, up-sampling",
    full: "fully connected", gate: "channel gates", other: "other",
  };
  const JOINTS = {add: "sum", concat: "concatenation", multiply: "product"};

  /** Rows of a data file as objects, once. */
  function rowsOf(data) {
    if (data.table) return data.table;
    const {rows, words} = data;
    data.table = rows.name.map((name, i) => ({
      number: i, name, type: words.type[rows.type[i]], kernel: words.kernel[rows.kernel[i]], output: words.output[rows.output[i]],
      sight: words.sight[rows.sight[i]], params: rows.params[i], macs: rows.macs[i],
    }));
    return data.table;
  }

  function kindOf(row) {
    if (/Conv/.test(row.type)) {
      const groups = / g(\d+)/.exec(row.kernel);
      if (row.type === "ConvTranspose2d") return "pool";
      if (groups) return "deep";
      return /^1×1\b/.test(row.kernel) ? "point" : "conv";
    }
    if (/Pool|Subsample/.test(row.type)) return "pool";
    if (/Linear|RBF/.test(row.type)) return "full";
    return "other";
  }

  const shapeOf = (output) => output.length === 3 ? {channels: output[0], side: Math.sqrt(output[1] * output[2])} : {channels: output[output.length - 1] ?? 1, side: 0};
  function sizeOf({channels, side}) {
    if (!side) return [5, 12 + 1.4 * Math.sqrt(channels)];
    return [4 + 0.55 * Math.sqrt(channels), 12 + 6 * Math.sqrt(side)];
  }

  /** Where everything stands, in units of the drawing whose axis is y = 0. */
  function layout(data) {
    const rows = rowsOf(data), boxes = [], joints = [], wires = [], bands = [];
    const shapes = new Map();
    const shape = (part) => {
      if (!shapes.has(part)) {
        if (typeof part === "number") {
          const [w, tall] = sizeOf(shapeOf(rows[part].output));
          shapes.set(part, {w, up: tall / 2, down: tall / 2});
        } else if (Array.isArray(part) && typeof part[0] === "string") {
          const [w, tall] = part[4].length ? [5, 12 + 6 * Math.sqrt(Math.sqrt(part[2] * part[3]))] : sizeOf({channels: part[1], side: part[2] * part[3] > 1 ? Math.sqrt(part[2] * part[3]) : 0});
          shapes.set(part, {w, up: tall / 2, down: tall / 2});
        } else if (Array.isArray(part)) {
          const each = part.map(shape);
          shapes.set(part, {
            w: each.reduce((sum, one) => sum + one.w, 0) + GAP * Math.max(0, each.length - 1),
            up: Math.max(2, ...each.map((one) => one.up)), down: Math.max(2, ...each.map((one) => one.down)),
          });
        } else shapes.set(part, fork(part));
      }
      return shapes.get(part);
    };
    function fork(part) {
      const paths = part.p.map((path) => shape(path)), own = paths.slice(0, part.o), other = part.p.slice(part.o);
      const inner = Math.max(...paths.map((one) => one.w)) + 2 * PAD;
      let tall = own.reduce((sum, one) => sum + one.up + one.down, 0) + LANE * (own.length - 1);
      let up = own.length === 1 ? own[0].up : tall / 2;
      const down = own.length === 1 ? own[0].down : tall / 2, lanes = [];
      let y = own.length === 1 ? 0 : -tall / 2;
      for (const one of own) {
        lanes.push(own.length === 1 ? 0 : y + one.up);
        y += one.up + one.down + LANE;
      }
      for (const path of other) {
        const one = shape(path);
        lanes.push(-(up + LANE + (path.length ? one.down : 0)));
        up += LANE + (path.length ? one.up + one.down : 1);
      }
      return {w: inner + 2 * JOINT, up, down, lanes, inner};
    }
    function place(part, x, y, band) {
      const at = shape(part);
      if (typeof part === "number" || typeof part[0] === "string") {
        const row = typeof part === "number" ? rows[part] : null;
        const inside = row ? [] : part[4];
        boxes.push({x, y: y - at.up, w: at.w, h: at.up + at.down, row: row ? part : -1, kind: row ? kindOf(row) : inside.length ? "gate" : "other",
          words: row ? row.kernel.split(" ")[0] : part[0], shape: row ? row.output : part.slice(1, 4), band, inside, after: []});
      } else if (Array.isArray(part)) {
        let here = x;
        part.forEach((each, i) => {
          if (i) { wires.push([here, y, here + GAP, y]); here += GAP; }
          place(each, here, y, band);
          here += shape(each).w;
        });
      } else {
        const end = x + at.inner;
        part.p.forEach((path, i) => {
          const lane = y + at.lanes[i], wide = shape(path).w;
          if (!path.length) { wires.push([x, y, end, y, lane]); return; }
          const left = lane === y ? x + PAD : x + (at.inner - wide) / 2;
          wires.push([x, y, left, lane, undefined, true]);
          place(path, left, lane, band);
          wires.push([left + wide, lane, end, y]);
        });
        joints.push({x: end + JOINT, y, join: part.j});
      }
    }
    let x = 0;
    data.diagram.chains.forEach((chain, i) => {
      if (!chain.length) return;
      const from = x;
      if (i) { wires.push([x - 16, 0, x, 0]); }
      place(chain, x, 0, bands.length);
      x += shape(chain).w;
      bands.push({from: from - 8, to: x + 8, chain: i});
      x += 16;
    });
    const by = new Map(boxes.flatMap((box) => [box.row, ...box.inside].filter((row) => row >= 0).map((row) => [row, box])));
    let last = null;
    for (const row of rows) {           // what has no box of its own belongs to the box before it
      if (by.has(row.number)) last = by.get(row.number);
      else if (last && !row.name.startsWith("aux.")) last.after.push(row.number);
    }
    const first = rows.find((row) => !row.name.startsWith("stem"));
    const stem = rows.length > 0 && first !== rows[0];
    bands.forEach((band, i) => {
      band.name = i === bands.length - 1 && i ? "head" : stem && i === 0 ? "stem" : `stage ${i + (stem ? 0 : 1)}`;
    });
    const high = Math.min(0, ...boxes.map((box) => box.y)), low = Math.max(0, ...boxes.map((box) => box.y + box.h));
    const links = (data.diagram.links || []).map(([from, to]) => [by.get(from), by.get(to)]).filter(([a, b]) => a && b);
    let top = Math.min(high, ...joints.map((joint) => joint.y), ...wires.map((wire) => wire[4] ?? 0));
    const across = links.map(([a, b], i) => {
      const arc = top - 10 - 9 * (links.length - i);
      return `M${a.x + a.w} ${a.y + a.h / 2}C${a.x + a.w + 14} ${arc} ${a.x + a.w + 14} ${arc} ${a.x + a.w + 30} ${arc}`
        + `L${b.x - 30} ${arc}C${b.x - 12} ${arc} ${b.x - 12} ${arc} ${b.x} ${b.y + b.h / 2}`;
    });
    if (links.length) top -= 10 + 9 * links.length;
    return {boxes, joints, wires, bands, across, left: -8, right: Math.max(x - 8, 10), top: top - 6, bottom: low + 6};
  }

  const N = (value) => value.toFixed(1);
  function wirePath([x0, y0, x1, y1, lane, forks]) {
    if (lane !== undefined) {           // past a block
      const bend = Math.min(PAD, (x1 - x0) / 3);
      return `M${N(x0)} ${N(y0)}C${N(x0 + bend)} ${N(y0)} ${N(x0)} ${N(lane)} ${N(x0 + bend)} ${N(lane)}L${N(x1 - bend)} ${N(lane)}C${N(x1)} ${N(lane)} ${N(x1 - bend)} ${N(y1)} ${N(x1)} ${N(y1)}`;
    }
    if (y0 === y1) return `M${N(x0)} ${N(y0)}H${N(x1)}`;
    const turn = Math.min(PAD, x1 - x0), from = forks ? x0 : x1 - turn, to = from + turn;       // it bends at the fork, or at the joint
    return `M${N(x0)} ${N(y0)}H${N(from)}C${N(from + turn / 2)} ${N(y0)} ${N(to - turn / 2)} ${N(y1)} ${N(to)} ${N(y1)}H${N(x1)}`;
  }

  /** The drawing, cut into stretches that are shown only where they are seen. */
  function drawn(made) {
    const stretches = new Map();
    const stretch = (x) => {
      const at = Math.floor(x / STRETCH);
      if (!stretches.has(at)) stretches.set(at, {from: at * STRETCH, to: (at + 1) * STRETCH, paths: {}});
      return stretches.get(at);
    };
    const add = (x, to, kind, path) => {
      const found = stretch(x);
      found.to = Math.max(found.to, to);
      (found.paths[kind] ||= []).push(path);
    };
    for (const wire of made.wires) add(wire[0], wire[2], "wire", wirePath(wire));
    for (const box of made.boxes) add(box.x, box.x + box.w, `box ${box.kind}`, `M${N(box.x)} ${N(box.y)}h${N(box.w)}v${N(box.h)}h${N(-box.w)}z`);
    for (const {x, y, join} of made.joints) add(x, x, `joint ${join}`, `M${N(x - JOINT)} ${N(y)}a${JOINT} ${JOINT} 0 1 0 ${2 * JOINT} 0a${JOINT} ${JOINT} 0 1 0 ${-2 * JOINT} 0z`);
    const ends = (kind) => kind === "wire" ? 0 : kind.startsWith("box") ? 1 : 2;
    return [...stretches.values()].map((each) => ({...each, node: s("g", {}, Object.entries(each.paths)
      .sort(([a], [b]) => ends(a) - ends(b)).map(([kind, paths]) => s("path", {class: kind, d: paths.join("")})))}));
  }

  const shapeWords = (output) => output.join("×");
  let picture = null;         // the visitor's own, under every receptive field

  /** The image, and on it what one unit of a layer sees. */
  function sight(host, data, row) {
    const [, high, wide] = data.input.split("×").map(Number);
    if (!row.sight || row.output.length !== 3) { host.replaceChildren(); return; }
    const [[sy, fy, ly], [sx, fx, lx]] = row.sight, [, rows, columns] = row.output;
    const edge = Math.max(high, wide) * 0.14;
    let at = [Math.floor(rows / 2), Math.floor(columns / 2)];
    const svg = s("svg", {viewBox: `${-edge} ${-edge} ${wide + 2 * edge} ${high + 2 * edge}`, tabindex: "0", role: "application",
      "aria-label": "Receptive field on the image; arrow keys move the unit"});
    const grid = [];
    for (let i = 1; i < 8; i++) grid.push(`M${wide * i / 8} 0V${high}M0 ${high * i / 8}H${wide}`);
    svg.append(s("rect", {width: wide, height: high, style: {fill: "var(--page)"}}));
    if (picture) svg.append(s("image", {href: picture, width: wide, height: high, preserveAspectRatio: "xMidYMid slice"}));
    else {
      svg.append(s("circle", {cx: wide * 0.7, cy: high * 0.3, r: Math.min(wide, high) * 0.13, style: {fill: "var(--wash)"}}),
        s("path", {d: `M0 ${high}L${wide * 0.35} ${high * 0.42}L${wide * 0.6} ${high * 0.78}L${wide * 0.75} ${high * 0.6}L${wide} ${high}Z`, style: {fill: "var(--line)"}}),
        s("path", {d: grid.join(""), style: {stroke: "var(--line)", "stroke-width": `${wide / 400}px`}}));
    }
    const field = s("rect", {style: {fill: "color-mix(in srgb, var(--wrong) 22%, transparent)", stroke: "var(--wrong)", "stroke-width": "2px"}, "vector-effect": "non-scaling-stroke"});
    const middle = s("circle", {r: wide / 90, style: {fill: "var(--wrong)"}});
    svg.append(s("rect", {width: wide, height: high, style: {fill: "none", stroke: "var(--soft)", "stroke-width": "1px"}, "vector-effect": "non-scaling-stroke"}), field, middle);
    const said = h("figcaption", {"aria-live": "polite"});
    const show = () => {
      const top = at[0] * sy + fy, left = at[1] * sx + fx, tall = ly - fy + 1, broad = lx - fx + 1;
      field.setAttribute("x", left); field.setAttribute("y", top); field.setAttribute("width", broad); field.setAttribute("height", tall);
      middle.setAttribute("cx", left + broad / 2); middle.setAttribute("cy", top + tall / 2);
      const beyond = top < 0 || left < 0 || top + tall > high || left + broad > wide;
      said.textContent = `Unit (${at[0]}, ${at[1]}) of ${rows}×${columns} sees ${tall}×${broad} of ${high}×${wide} pixels${beyond ? ", padding included" : ""}.`;
    };
    const move = (down, right) => { at = [Math.max(0, Math.min(rows - 1, down)), Math.max(0, Math.min(columns - 1, right))]; show(); };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), k = (wide + 2 * edge) / box.width;
      move(Math.round(((event.clientY - box.top) * k - edge - (fy + ly) / 2) / sy), Math.round(((event.clientX - box.left) * k - edge - (fx + lx) / 2) / sx));
    });
    svg.addEventListener("keydown", (event) => {
      const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
      if (by) { event.preventDefault(); event.stopPropagation(); move(at[0] + by[0], at[1] + by[1]); }
    });
    const input = h("input", {type: "file", accept: "image/*", class: "hidden"});
    input.addEventListener("change", () => {
      if (!input.files[0]) return;
      if (picture) URL.revokeObjectURL(picture);
      picture = URL.createObjectURL(input.files[0]);
      sight(host, data, row);
    });
    show();
    host.replaceChildren(svg, said, h("label", {class: "pick"}, input, "on a picture of yours"));
  }

  /** A diagram in `host` for the data of a variant. Answers {pick(row), made}. */
  function diagram(host, data) {
    const rows = rowsOf(data);
    if (!data.diagram.chains.length) {
      host.replaceChildren(h("p", {class: "note"}, "Its paths cross and cannot be drawn as forks one inside another; the table below has every layer."));
      return {pick() {}};
    }
    const made = layout(data), stretches = drawn(made);
    const bands = s("g"), names = s("g"), labels = s("g");
    for (const band of made.bands) {
      if (band.chain % 2 === 0) bands.append(s("rect", {class: "band", x: band.from, width: band.to - band.from, y: made.top - 4000, height: made.bottom - made.top + 8000}));
    }
    const hovered = s("rect", {class: "hovered", visibility: "hidden"}), picked = s("rect", {class: "picked", visibility: "hidden"});
    const world = s("g", {}, bands, stretches.map((each) => each.node), s("path", {class: "wire across", d: made.across.join("")}), hovered, picked);
    const svg = s("svg", {tabindex: "0", role: "application", "aria-roledescription": "diagram",
      "aria-label": `Diagram of ${data.name}: arrow keys step through its layers, plus and minus zoom, 0 shows all of it`}, world, names, labels);
    const tip = h("span", {class: "hidden", "aria-live": "polite"});
    let k = 1, tx = 0, ty = 0, wide = 800, high = 320, at = -1, least = 0.01;

    const fitAll = () => Math.min((wide - 24) / (made.right - made.left), (high - 44) / (made.bottom - made.top));
    const fitHigh = () => Math.min((high - 44) / (made.bottom - made.top), 3);
    const middle = () => { ty = 12 + high / 2 - k * (made.top + made.bottom) / 2; };

    function draw() {
      const span = (made.right - made.left) * k;
      tx = span < wide - 24 ? (wide - span) / 2 - made.left * k : Math.min(12 - made.left * k, Math.max(wide - 12 - made.right * k, tx));
      const tall = (made.bottom - made.top) * k;
      if (tall < high - 44) middle();
      else ty = Math.min(32 - made.top * k, Math.max(high - 12 - made.bottom * k, ty));
      world.setAttribute("transform", `translate(${tx} ${ty}) scale(${k})`);
      const from = -tx / k, to = (wide - tx) / k;
      for (const each of stretches) {
        const seen = each.to >= from && each.from <= to;
        if (seen !== each.seen) { each.seen = seen; each.node.setAttribute("visibility", seen ? "visible" : "hidden"); }
      }
      let used = 0;
      for (const band of made.bands) {
        const left = Math.max(6, band.from * k + tx + 6), right = band.to * k + tx;
        if (right - left > 50 && left < wide - 170) text(names, used++, left, 18, band.name, "bandname");
      }
      clear(names, used);
      used = 0;
      if (k > 1.15) {
        for (let i = first(from - 60); i < made.boxes.length && used < LABELS; i++) {
          const box = made.boxes[i];
          if (box.x > to) break;
          if (box.words && box.w * k > box.words.length * 4.4) text(labels, used++, (box.x + box.w / 2) * k + tx, (box.y + box.h) * k + ty + 12, box.words, "boxname plotmiddle");
        }
      }
      clear(labels, used);
      view.setAttribute("x", Math.max(0, (from - made.left) / (made.right - made.left) * 1000));
      view.setAttribute("width", Math.min(1000, (to - from) / (made.right - made.left) * 1000));
    }
    /** The first box that may reach x: boxes stand about in order. */
    function first(x) {
      let low = 0, top = made.boxes.length;
      while (low < top) { const mid = (low + top) >> 1; if (made.boxes[mid].x < x) low = mid + 1; else top = mid; }
      return Math.max(0, low - 40);
    }
    function text(group, i, x, y, words, kind) {
      let node = group.childNodes[i];
      if (!node) group.append(node = s("text", {class: kind, "text-anchor": kind.includes("middle") ? "middle" : "start"}));
      node.setAttribute("x", x); node.setAttribute("y", y);
      if (node.textContent !== words) node.textContent = words;
      if (node.getAttribute("visibility") !== "visible") node.setAttribute("visibility", "visible");
    }
    function clear(group, from) {
      for (let i = from; i < group.childNodes.length; i++) group.childNodes[i].setAttribute("visibility", "hidden");
    }
    function zoom(by, x = wide / 2, y = high / 2) {
      const now = Math.max(least, Math.min(14, k * by));
      tx = x - (x - tx) * now / k; ty = y - (y - ty) * now / k;
      k = now;
      draw();
    }
    function around(rect, box) {
      for (const name of ["x", "y"]) rect.setAttribute(name, box[name] - 1);
      rect.setAttribute("width", box.w + 2); rect.setAttribute("height", box.h + 2);
      rect.setAttribute("visibility", "visible");
    }
    function hit(x, y) {
      const wx = (x - tx) / k, wy = (y - ty) / k, near = 4 / k;
      let best = -1, least = Infinity;
      for (let i = 0; i < made.boxes.length; i++) {
        const box = made.boxes[i];
        if (wx < box.x - near || wx > box.x + box.w + near || wy < box.y - near || wy > box.y + box.h + near) continue;
        const off = Math.abs(wx - box.x - box.w / 2);
        if (off < least) { least = off; best = i; }
      }
      return best;
    }

    const told = h("div", {class: "told"}), words = h("div"), sees = h("figure", {class: "sees"});
    told.append(words, sees);
    function tell(box) {
      const row = rows[box.row];
      const sum = (key, numbers) => numbers.reduce((all, number) => all + rows[number][key], 0);
      const after = box.after.map((number) => rows[number].type);
      const then = [...new Set(after)].join(", ");
      const cost = (value, whole) => value ? [format.short(value), h("small", {}, ` ${format.percent(value / whole, 1)} of all`)] : ["–"];
      const list = (pairs) => h("dl", {class: "numbers"}, pairs.filter(Boolean).map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
      if (!row) {
        words.replaceChildren(h("h3", {}, box.words), h("p", {class: "note"}, box.inside.length ? box.inside.map((number) => rows[number].name).join(", ") : "a function, which has no row in the table"),
          list([["Output", shapeWords(box.shape)], ["Parameters", cost(sum("params", box.inside), data.params)], ["Multiply-adds", cost(sum("macs", box.inside), data.macs)]]));
        sees.replaceChildren();
        return;
      }
      const more = sum("params", box.after);
      words.replaceChildren(h("h3", {}, row.name), h("p", {class: "note"}, [row.type, row.kernel].filter(Boolean).join(" ") + (then ? `; then ${then}` : "")),
        list([["Output", shapeWords(row.output)], ["Parameters", cost(row.params, data.params)], ["Multiply-adds", cost(row.macs, data.macs)],
          more ? ["Parameters behind it", format.short(more)] : null, row.sight ? ["Sees", `${row.sight[0][2] - row.sight[0][1] + 1} pixels`] : null]));
      sight(sees, data, row);
    }
    function pick(i, follow = true, tells = true) {
      at = Math.max(0, Math.min(made.boxes.length - 1, i));
      const box = made.boxes[at];
      around(picked, box);
      if (follow) {
        const left = box.x * k + tx, right = (box.x + box.w) * k + tx, top = box.y * k + ty, bottom = (box.y + box.h) * k + ty;
        if (left < 30) tx += wide * 0.3 - left; else if (right > wide - 30) tx -= right - wide * 0.7;
        if (top < 24) ty += 24 - top; else if (bottom > high - 16) ty -= bottom - high + 16;
        draw();
      }
      tell(box);
      tip.textContent = box.row < 0 ? box.words : `${rows[box.row].name}, ${rows[box.row].type} ${rows[box.row].kernel}, output ${shapeWords(rows[box.row].output)}`;
      if (tells) dispatchEvent(new CustomEvent("atlas:layer", {detail: {row: box.row, from: host}}));
    }

    const view = s("rect", {class: "view", y: 0, height: 20});
    const overview = s("svg", {class: "overview", viewBox: "0 0 1000 20", preserveAspectRatio: "none", "aria-hidden": "true"},
      made.bands.map((band, i) => s("rect", {class: i % 2 ? "odd" : "even", x: (band.from - made.left) / (made.right - made.left) * 1000, width: (band.to - band.from) / (made.right - made.left) * 1000, y: 0, height: 20})), view);
    const jump = (event) => {
      const box = overview.getBoundingClientRect();
      tx = wide / 2 - k * (made.left + (event.clientX - box.left) / box.width * (made.right - made.left));
      draw();
    };
    overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); jump(event); });
    overview.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });

    let corner = null;          // of the drawing on the screen: asked for once, as an answer in the midst of panning costs a layout
    const place = (event) => {
      corner ??= svg.getBoundingClientRect();
      return [event.clientX - corner.left, event.clientY - corner.top];
    };
    addEventListener("scroll", () => { corner = null; }, {capture: true, passive: true});
    const pointers = new Map();
    let moved = 0, over = -1;
    svg.addEventListener("pointerdown", (event) => {
      corner = null;
      pointers.set(event.pointerId, place(event));
      moved = 0;
    });
    svg.addEventListener("pointermove", (event) => {
      const was = pointers.get(event.pointerId), [x, y] = place(event);
      if (!was) {
        const i = hit(x, y);
        if (i < 0) hovered.setAttribute("visibility", "hidden"); else around(hovered, made.boxes[i]);
        if (i !== over && (at < 0 || i >= 0)) tell(made.boxes[i >= 0 ? i : 0]);
        over = i;
        return;
      }
      const [dx, dy] = [x - was[0], y - was[1]];
      if (pointers.size === 2) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
        zoom(Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(was[0] - other[0], was[1] - other[1])), other[0], other[1]);
      } else {
        moved += Math.abs(dx) + Math.abs(dy);
        if (moved > 4) svg.setPointerCapture(event.pointerId);
        tx += dx; ty += dy;
        draw();
      }
      pointers.set(event.pointerId, [x, y]);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      svg.addEventListener(end, (event) => {
        if (end === "pointerup" && pointers.size === 1 && moved <= 4) {
          const i = hit(...place(event));
          if (i >= 0) pick(i, false);
        }
        pointers.delete(event.pointerId);
      });
    }
    svg.addEventListener("pointerleave", () => { hovered.setAttribute("visibility", "hidden"); if (at >= 0) tell(made.boxes[at]); });
    svg.addEventListener("wheel", (event) => {
      const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (!sideways && !event.ctrlKey && !event.metaKey && document.activeElement !== svg) return;      // the page scrolls
      event.preventDefault();
      if (sideways) { tx -= event.shiftKey ? event.deltaY + event.deltaX : event.deltaX; draw(); } else zoom(1.0016 ** -event.deltaY, ...place(event));
    }, {passive: false});
    svg.addEventListener("keydown", (event) => {
      const {key} = event, pan = {ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[key];
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.shiftKey && pan) { tx += 80 * pan[0]; ty += 40 * pan[1]; draw(); }
      else if (key === "ArrowRight" || key === "ArrowDown") pick(at + 1);
      else if (key === "ArrowLeft" || key === "ArrowUp") pick(at < 0 ? 0 : at - 1);
      else if (key === "PageDown") pick(at + 20);
      else if (key === "PageUp") pick(at - 20);
      else if (key === "Home") pick(0);
      else if (key === "End") pick(made.boxes.length - 1);
      else if (key === "+" || key === "=") zoom(1.35);
      else if (key === "-") zoom(1 / 1.35);
      else if (key === "0") { k = fitAll(); draw(); }
      else return;
      event.preventDefault();
    });
    const tool = (label, words, f) => h("button", {type: "button", "aria-label": label, title: label, on: {click: f}}, words);
    const tools = h("div", {class: "tools"}, tool("Zoom in", "+", () => zoom(1.35)), tool("Zoom out", "−", () => zoom(1 / 1.35)),
      tool("Show all of it", "All", () => { k = fitAll(); draw(); }));
    const used = [...new Set(made.boxes.map((box) => box.kind))];
    const legend = h("p", {class: "legend"}, Object.entries(KINDS).filter(([kind]) => used.includes(kind)).map(([kind, meaning]) =>
      h("span", {}, h("i", {class: `box ${kind}`}), meaning)), Object.entries(JOINTS).filter(([join]) => made.joints.some((joint) => joint.join === join))
      .map(([join, meaning]) => h("span", {}, h("i", {class: `round joint ${join}`}), meaning)), made.across.length ? h("span", {}, h("i", {class: "line"}), "map handed across") : null);
    host.replaceChildren(h("div", {class: "stagebox"}, svg, tools, overview), legend, told, tip);
    let began = false;
    new ResizeObserver(() => {
      corner = null;
      const box = svg.getBoundingClientRect();
      if (!box.width) return;
      [wide, high] = [box.width, box.height];
      least = Math.min(fitAll(), 1) * 0.8;
      if (!began) {
        began = true;
        const whole = fitAll();
        k = whole >= fitHigh() * 0.4 ? whole : fitHigh() * 0.8;
        tx = 12 - made.left * k;
      }
      draw();
    }).observe(svg);
    tell(made.boxes[0]);
    return {made, pick(row) { const i = made.boxes.findIndex((box) => box.row === row || box.inside.includes(row) || box.after.includes(row)); if (i >= 0) pick(i, true, false); }};
  }

  atlas.rows = rowsOf;
  atlas.diagram = diagram;
  atlas.widget("diagram", async (root, {name}) => {
    const shown = diagram(root, await atlas.load(`network/${name}`));
    addEventListener("atlas:layer", (event) => { if (event.detail.from !== root) shown.pick(event.detail.row); });
  });
})();
