"use strict";
/* The front end's kernel: elements, widgets, data files, controls, a plot, a canvas and a pad. No page does without it,
   and it does without any library. Names of classes, files and runs only ever become text nodes. */

const atlas = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const page = document.documentElement;
  const root = page.dataset.root || "";
  const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;

  /* -- elements ------------------------------------------------------------------------------------------------- */

  /** Set attributes of an element and append children; null, undefined and false are left out.
      @template {Element} E @param {E} element @param {Object<string, any>} [attributes] @param {any[]} children */
  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, f] of Object.entries(value)) element.addEventListener(event, f);
      else if (name === "dataset") Object.assign(element.dataset, value);
      else if (name === "style" && typeof value === "object") {
        for (const [property, set] of Object.entries(value)) element.style.setProperty(property, set);
      } else if (name === "value" && "value" in element) element.value = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }
  /** An HTML element. `h("p", {class: "note", on: {click: f}}, "text", child)` */
  const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  /** An SVG element. */
  const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  let numbered = 0;
  const fresh = (word) => `${word}-${++numbered}`;

  /* -- data ------------------------------------------------------------------------------------------------------ */

  const given = new Map(), awaited = new Map();

  /** Called by a data file: the value of that name. */
  function give(name, value) { given.set(name, value); }

  /** The value of `data/NAME.js`, which is a classic script, as `fetch` fails on file://. */
  function load(name) {
    if (given.has(name)) return Promise.resolve(given.get(name));
    if (!awaited.has(name)) {
      awaited.set(name, new Promise((resolve, reject) => {
        const fail = () => { awaited.delete(name); reject(new Error(`data/${name}.js could not be read: reload the page, or write the site anew (convatlas atlas)`)); };
        document.head.append(h("script", {
          src: `${root}data/${name.split("/").map(encodeURIComponent).join("/")}.js`,
          on: {load: () => given.has(name) ? resolve(given.get(name)) : fail(), error: fail},
        }));
      }));
    }
    return awaited.get(name);
  }

  /** The page's own data: the value of an inline `<script type="application/json">`. */
  function data(id = "data") {
    const found = document.getElementById(id);
    return found ? JSON.parse(found.textContent) : {};
  }

  /* -- widgets --------------------------------------------------------------------------------------------------- */

  const widgets = new Map();

  /** Register `start(root, data)`, called for each `<div class="widget" data-widget="NAME">` when it comes near. */
  function widget(name, start) {
    widgets.set(name, start);
    if (document.readyState !== "loading") watch();
  }

  async function begin(element) {
    const start = widgets.get(element.dataset.widget);
    if (!start || element.dataset.started) return;
    element.dataset.started = "yes";
    try {
      await start(element, element.dataset.source ? data(element.dataset.source) : {});
      element.dataset.ready = "yes";
    } catch (error) {
      element.replaceChildren(h("p", {class: "note"}, `This could not be shown: ${error.message}`));
      throw error;
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); begin(entry.target); }
  }, {rootMargin: "300px"});
  function watch() {
    for (const element of document.querySelectorAll(".widget[data-widget]:not([data-started])")) {
      if (widgets.has(element.dataset.widget)) near.observe(element);
    }
  }

  /* -- numbers, as Python's draw/numbers.py writes them ---------------------------------------------------------- */

  const format = {
    /** 60000 as "60 000" */
    count: (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f"),
    /** 11689512 as "11.69M" */
    short(n) {
      for (const [unit, sign, digits] of [[1e9, "G", 2], [1e6, "M", 2], [1e3, "k", 1]]) {
        if (n >= unit) return (n / unit).toFixed(digits) + sign;
      }
      return String(+n.toPrecision(6));
    },
    /** 0.9833 as "98.33 %" */
    percent: (share, digits = 2) => Number.isFinite(share) ? `${(share * 100).toFixed(digits)}\u202f%` : "–",
    /** 1500000 as "1.5 MB" */
    bytes(n) {
      for (const [unit, sign] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
        if (n >= unit) return `${(n / unit).toFixed(1)}\u202f${sign}`;
      }
      return `${n}\u202fB`;
    },
    /** A number of a plot's axis or of a table: three digits that count. */
    plain(n) {
      if (!Number.isFinite(n)) return "–";
      if (n === 0) return "0";
      const size = Math.abs(n);
      if (size >= 1e4 && size < 1e12) return format.short(n);
      return size < 1e-3 || size >= 1e12 ? n.toExponential(1) : String(+n.toPrecision(3));
    },
  };

  /* -- theme ----------------------------------------------------------------------------------------------------- */

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const theme = () => page.dataset.theme || (dark.matches ? "dark" : "light");
  /** The value of a custom property such as "--accent", for canvases. */
  const color = (name) => {
    const probe = document.body.appendChild(h("i", {style: {color: `var(${name})`, display: "none"}}));
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  function setTheme(name) {
    page.dataset.theme = name;
    try { localStorage.setItem("theme", name); } catch { /* not kept where storage is closed */ }
    dispatchEvent(new CustomEvent("atlas:theme"));
  }
  if (["light", "dark"].includes(kept())) page.dataset.theme = kept();        // before anything is painted
  dark.addEventListener("change", () => dispatchEvent(new CustomEvent("atlas:theme")));

  /* -- controls: each an element with `value`; `set(value)` changes it without calling `changed` ------------------ */

  /** A slider with its label and its value in words. */
  function slider(label, {min = 0, max = 1, step = 0.01, value = min, format: say = format.plain} = {}, changed = () => {}) {
    const id = fresh("slider"), shown = h("output", {for: id}, say(value));
    const input = h("input", {type: "range", id, min, max, step, value, "aria-valuetext": say(value)});
    const told = () => {
      const now = Number(input.value);
      shown.textContent = say(now);
      input.setAttribute("aria-valuetext", say(now));
      return now;
    };
    input.addEventListener("input", () => changed(told()));
    const made = h("div", {class: "control slider"}, h("label", {for: id}, label), input, shown);
    Object.defineProperty(made, "value", {get: () => Number(input.value)});
    return Object.assign(made, {set(now) { input.value = now; told(); }});
  }

  /** A switch. */
  function toggle(label, value = false, changed = () => {}) {
    const id = fresh("toggle"), input = h("input", {type: "checkbox", id, role: "switch"});
    input.checked = value;
    input.addEventListener("change", () => changed(input.checked));
    const made = h("div", {class: "control toggle"}, input, h("label", {for: id}, label));
    Object.defineProperty(made, "value", {get: () => input.checked});
    return Object.assign(made, {set(now) { input.checked = now; }});
  }

  /** One of several: `options` are values or [value, label] pairs. Up to five as buttons, more as a menu. */
  function choice(label, options, value, changed = () => {}) {
    const pairs = options.map((each) => Array.isArray(each) ? each : [each, String(each)]);
    const id = fresh("choice");
    let made, read, write;
    if (pairs.length <= 5) {
      const inputs = pairs.map(([each], i) => {
        const input = h("input", {type: "radio", name: id, id: `${id}-${i}`});
        input.checked = each === value;
        input.addEventListener("change", () => changed(each));
        return input;
      });
      made = h("fieldset", {class: "control choice"}, h("legend", {}, label), h("span", {class: "options"},
        inputs.map((input, i) => h("span", {}, input, h("label", {for: input.id}, pairs[i][1])))));
      read = () => { const at = inputs.findIndex((input) => input.checked); return at < 0 ? undefined : pairs[at][0]; };
      write = (now) => inputs.forEach((input, i) => { input.checked = pairs[i][0] === now; });
    } else {
      const select = h("select", {id}, pairs.map(([each, words]) => h("option", {selected: each === value}, words)));
      select.addEventListener("change", () => changed(pairs[select.selectedIndex][0]));
      made = h("div", {class: "control menu"}, h("label", {for: id}, label), select);
      read = () => pairs[select.selectedIndex][0];
      write = (now) => { select.selectedIndex = pairs.findIndex(([each]) => each === now); };
    }
    Object.defineProperty(made, "value", {get: read});
    return Object.assign(made, {set: write});
  }

  /* -- plot ------------------------------------------------------------------------------------------------------ */

  const INKS = ["--accent", "--wrong", "--third", "--fourth", "--train", "--fifth"];

  /** Round numbers between two, at most about `count`. */
  function ticks(low, high, count = 5) {
    if (!(high > low)) return [low];
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((by) => by * power).find((each) => each >= rough);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(+(at * step).toPrecision(12));
    return found;
  }
  function powers(low, high) {
    const found = [];
    for (let at = Math.floor(Math.log10(low) + 1e-9); at <= Math.ceil(Math.log10(high) - 1e-9); at++) found.push(10 ** at);
    const inside = found.filter((each) => each >= low * 0.999 && each <= high * 1.001);
    return inside.length > 1 ? inside : [low, high];
  }

  const fitted = new WeakMap();       // of a plot's host, what draws it anew in another width

  /** A line or scatter plot as SVG, with axes, legend, hover and keys, and a table of its values.
      `lines`: [{name, points: [[x, y], …], dashed, color}]; `marks`: [{name, points: [[x, y, label, href], …], color}];
      `x`, `y`: {label, log, format, min, max}; `title` its text alternative. Draws anew when called on the same root.
      Answers {update(options)}. */
  function plot(host, options) {
    const {lines = [], marks = [], title = ""} = options;
    // as wide as there is room, so that letters have their size everywhere; as high as the proportion asked for makes it
    const room = host.clientWidth || 560, wide = Math.max(250, room);
    const height = Math.round(Math.max(200, Math.min(460, wide * (options.height || 240) / (options.wide || 560))));
    const axes = {x: {format: format.plain, ...options.x}, y: {format: format.plain, ...options.y}};
    const all = [...lines, ...marks];
    const points = all.flatMap((each) => each.points).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)
      && !(axes.x.log && x <= 0) && !(axes.y.log && y <= 0));
    const box = {left: 74, right: 22, top: 12, bottom: 44};
    const span = (axis, at) => {
      const values = points.map((point) => point[at]);
      let low = axis.min ?? Math.min(...values), high = axis.max ?? Math.max(...values);
      if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [0, 1];
      if (low === high) [low, high] = axis.log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
      if (!axis.log && at === 1) {
        const air = (high - low) * 0.06;
        if (axis.min === undefined) low = low >= 0 && low - air < 0 ? 0 : low - air;
        if (axis.max === undefined) high += air;
      }
      if (axis.log && axis.min === undefined && axis.max === undefined) { low /= 1.15; high *= 1.15; }
      return [low, high];
    };
    const [x0, x1] = span(axes.x, 0), [y0, y1] = span(axes.y, 1);
    const part = (value, low, high, log) => log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    const X = (x) => box.left + part(x, x0, x1, axes.x.log) * (wide - box.left - box.right);
    const Y = (y) => height - box.bottom - part(y, y0, y1, axes.y.log) * (height - box.top - box.bottom);
    const svg = s("svg", {viewBox: `0 0 ${wide} ${height}`, class: "plot", "aria-label": title,
      role: marks.some((group) => group.points.some((point) => point[3])) ? "group" : "img"});
    for (const at of axes.y.log ? powers(y0, y1) : ticks(y0, y1, 5)) {
      svg.append(s("line", {x1: box.left, x2: wide - box.right, y1: Y(at), y2: Y(at), class: "grid"}),
        s("text", {x: box.left - 8, y: Y(at) + 4, class: "tick end"}, axes.y.format(at)));
    }
    const whole = points.every(([x]) => Number.isInteger(x));
    for (const at of axes.x.log ? powers(x0, x1) : ticks(x0, x1, Math.min(wide < 420 ? 4 : 6, whole ? Math.max(1, x1 - x0) : 6))) {
      svg.append(s("line", {x1: X(at), x2: X(at), y1: height - box.bottom, y2: height - box.bottom + 4, class: "axis"}),
        s("text", {x: X(at), y: height - box.bottom + 18, class: "tick middle"}, axes.x.format(at)));
    }
    svg.append(s("line", {x1: box.left, x2: wide - box.right, y1: height - box.bottom, y2: height - box.bottom, class: "axis"}));
    if (axes.x.label) svg.append(s("text", {x: (box.left + wide - box.right) / 2, y: height - 6, class: "label middle"}, axes.x.label));
    if (axes.y.label) svg.append(s("text", {x: 12, y: (box.top + height - box.bottom) / 2, class: "label middle",
      transform: `rotate(-90 12 ${(box.top + height - box.bottom) / 2})`}, axes.y.label));
    const ink = (each, i) => each.color || `var(${INKS[i % INKS.length]})`;
    lines.forEach((line, i) => {
      let path = "", open = false;
      for (const [x, y] of line.points) {
        const fits = Number.isFinite(x) && Number.isFinite(y) && !(axes.x.log && x <= 0) && !(axes.y.log && y <= 0);
        if (fits) path += `${open ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`;
        open = fits;
      }
      svg.append(s("path", {d: path, class: "line", style: {stroke: ink(line, i)}, "stroke-dasharray": line.dashed ? "5 4" : null}));
    });
    marks.forEach((group, i) => {
      for (const [x, y, label, href] of group.points) {
        if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
        const dot = s("circle", {cx: X(x), cy: Y(y), r: 4.5, class: "dot", style: {fill: ink(group, lines.length + i)}},
          s("title", {}, `${label ?? group.name}: ${axes.x.format(x)}, ${axes.y.format(y)}`));
        svg.append(href ? s("a", {href, "aria-label": String(label ?? group.name)}, dot) : dot);
      }
    });
    const rule = s("line", {y1: box.top, y2: height - box.bottom, class: "rule", visibility: "hidden"});
    const said = h("p", {class: "said", "aria-live": "polite"}, "\u00a0");
    const xs = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
    let at = -1;
    const show = (i) => {
      at = Math.max(0, Math.min(xs.length - 1, i));
      const x = xs[at];
      rule.setAttribute("x1", X(x)); rule.setAttribute("x2", X(x)); rule.setAttribute("visibility", "visible");
      said.textContent = `${axes.x.label || "x"} ${axes.x.format(x)}: ` + lines.map((line) => {
        const found = line.points.find((point) => point[0] === x);
        return found && Number.isFinite(found[1]) ? `${line.name || axes.y.label || "y"} ${axes.y.format(found[1])}` : null;
      }).filter(Boolean).join(" · ");
    };
    if (xs.length) {
      svg.append(rule);
      svg.setAttribute("tabindex", "0");
      svg.addEventListener("pointermove", (event) => {
        const place = svg.getBoundingClientRect(), x = (event.clientX - place.left) / place.width * wide;
        let best = 0;
        xs.forEach((each, i) => { if (Math.abs(X(each) - x) < Math.abs(X(xs[best]) - x)) best = i; });
        show(best);
      });
      svg.addEventListener("keydown", (event) => {
        const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
        if (by) { event.preventDefault(); show(at < 0 ? 0 : at + by); }
      });
    }
    const legend = all.length > 1 ? h("p", {class: "legend", "aria-hidden": "true"}, all.map((each, i) =>
      h("span", {}, h("i", {class: each.dashed ? "dashed" : "", style: {"--ink": ink(each, i)}}), each.name))) : null;
    const table = () => h("table", {}, h("caption", {}, title),
      h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "series"), h("th", {scope: "col", class: "n"}, axes.x.label || "x"),
        h("th", {scope: "col", class: "n"}, axes.y.label || "y"))),
      h("tbody", {}, all.flatMap((each) => each.points.slice(0, 400).map(([x, y, label]) => h("tr", {},
        h("td", {}, label ?? each.name ?? ""), h("td", {class: "n"}, axes.x.format(x)), h("td", {class: "n"}, axes.y.format(y)))))));
    const values = h("details", {class: "values"}, h("summary", {}, "Values"));
    values.addEventListener("toggle", () => {
      if (values.open && values.childElementCount === 1) values.append(h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": title}, table()));
    });
    host.replaceChildren(h("figure", {class: "plotted"}, ...[legend, svg, xs.length ? said : null, values].filter(Boolean)));
    fitted.get(host)?.disconnect();
    const fit = new ResizeObserver(() => { if (host.isConnected && Math.abs(host.clientWidth - room) > 24) plot(host, options); });
    fitted.set(host, fit);
    fit.observe(host);
    return {update: (more) => plot(host, {...options, ...more})};
  }

  /* -- canvases -------------------------------------------------------------------------------------------------- */

  /** A canvas of width × height CSS pixels, crisp on every screen, appended to `host`; `context` is scaled to CSS pixels. */
  function canvas(host, width, height, label) {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const made = h("canvas", {width: Math.round(width * ratio), height: Math.round(height * ratio), role: "img", "aria-label": label,
      style: {width: `${width}px`, "aspect-ratio": `${width} / ${height}`}});
    const context = made.getContext("2d");
    context.scale(ratio, ratio);
    host.append(made);
    return Object.assign(made, {context});
  }

  /** A drawing pad of size × size cells, by pointer or keys (arrows move, space draws, Backspace clears).
      `changed(values)` has a Float32Array of size · size, 0 (paper) to 1 (ink), row by row. `pen` is the ink's width in cells. */
  function pad(host, {size = 28, changed = () => {}, width = 280, pen = size / 12, label = "Drawing pad"} = {}) {
    const values = new Float32Array(size * size);
    const help = h("p", {class: "note", id: fresh("pad")}, "Draw with the pointer, or with keys: arrows move the pen, ",
      h("kbd", {}, "space"), " lowers and lifts it, ", h("kbd", {}, "⌫"), " clears.");
    const made = h("canvas", {width: size, height: size, class: "pad crisp", tabindex: "0", role: "application", "aria-label": label,
      "aria-describedby": help.id, style: {width: `${width}px`, "aspect-ratio": "1"}});
    const context = made.getContext("2d"), image = context.createImageData(size, size);
    let at = null, down = false, keys = false;
    const paint = () => {
      for (let i = 0; i < values.length; i++) {
        const ink = 255 - Math.round(values[i] * 255);
        image.data.set([ink, ink, ink, 255], i * 4);
      }
      context.putImageData(image, 0, 0);
      if (keys && at) {
        context.fillStyle = down ? "#c4501c" : "#2460c4";
        context.fillRect(Math.floor(at[0]), Math.floor(at[1]), 1, 1);
      }
    };
    /** Ink along the way from one place to another: full within the pen, fading over one cell. */
    const ink = (from, to) => {
      const way = Math.hypot(to[0] - from[0], to[1] - from[1]);
      for (let y = Math.max(0, Math.floor(Math.min(from[1], to[1]) - pen - 1)); y < Math.min(size, Math.max(from[1], to[1]) + pen + 1); y++) {
        for (let x = Math.max(0, Math.floor(Math.min(from[0], to[0]) - pen - 1)); x < Math.min(size, Math.max(from[0], to[0]) + pen + 1); x++) {
          const px = x + 0.5 - from[0], py = y + 0.5 - from[1];
          const along = way ? Math.max(0, Math.min(1, (px * (to[0] - from[0]) + py * (to[1] - from[1])) / way ** 2)) : 0;
          const off = Math.hypot(px - along * (to[0] - from[0]), py - along * (to[1] - from[1]));
          values[y * size + x] = Math.max(values[y * size + x], Math.max(0, Math.min(1, pen / 2 + 0.5 - off)));
        }
      }
    };
    const tell = () => { paint(); changed(values.slice()); };
    const place = (event) => {
      const box = made.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width * size, (event.clientY - box.top) / box.height * size];
    };
    made.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      made.focus({preventScroll: true});
      made.setPointerCapture(event.pointerId);
      keys = false; down = true; at = place(event);
      ink(at, at); tell();
    });
    made.addEventListener("pointermove", (event) => {
      if (!down || keys) return;
      for (const each of event.getCoalescedEvents?.() || [event]) { const to = place(each); ink(at, to); at = to; }
      tell();
    });
    for (const end of ["pointerup", "pointercancel"]) made.addEventListener(end, () => { if (!keys) down = false; });
    const clear = () => { values.fill(0); down = false; tell(); };
    made.addEventListener("keydown", (event) => {
      const by = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
      if (by) {
        const from = at || [size / 2, size / 2];
        const to = from.map((each, i) => Math.max(0.5, Math.min(size - 0.5, each + by[i])));
        if (keys && down) ink(from, to);
        at = to;
      } else if (event.key === " ") {
        at = at || [size / 2, size / 2];
        down = !(keys && down);
        if (down) ink(at, at);
      } else if (["Backspace", "Delete"].includes(event.key)) values.fill(0);
      else return;
      keys = true;
      event.preventDefault();
      tell();
    });
    made.addEventListener("blur", () => { down = keys = false; paint(); });
    paint();
    host.append(h("div", {class: "drawing"}, made, h("button", {type: "button", on: {click: clear}}, "Clear"), help));
    return {element: made, values, clear, set(now) { values.set(now); tell(); }};
  }

  /* -- numbers as pictures --------------------------------------------------------------------------------------- */

  /** Bytes of a base64 text. */
  const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));

  /** Paint planes of numbers on a canvas of their size, crisp: one from black to white, or three as colours. `low` and `high` are
      black and white, else the least and the greatest; `signed` shows 0 as the page, + and − as two colours. */
  function paint(canvas, values, height, width, {low, high, signed = false, channels = 1} = {}) {
    let least = low ?? Infinity, most = high ?? -Infinity;
    for (const value of values) {
      if (low === undefined && value < least) least = value;
      if (high === undefined && value > most) most = value;
    }
    const span = most - least || 1, size = Math.max(Math.abs(least), Math.abs(most)) || 1, area = height * width;
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const back = theme() === "dark" ? [28, 32, 38] : [244, 245, 246];
    for (let i = 0; i < area; i++) {
      let ink = [0, 1, 2].map((c) => 255 * (values[(channels === 3 ? c : 0) * area + i] - least) / span);
      if (signed) {
        const by = Math.max(-1, Math.min(1, values[i] / size)), to = by > 0 ? [45, 105, 215] : [205, 85, 25];
        ink = back.map((each, c) => each + (to[c] - each) * Math.abs(by));
      }
      image.data.set([...ink, 255], i * 4);
    }
    [canvas.width, canvas.height] = [width, height];
    context.putImageData(image, 0, 0);
  }

  /** Call `f` at most once per frame, with the latest arguments. */
  function paced(f) {
    let waiting = null;
    return (...given) => {
      if (!waiting) requestAnimationFrame(() => { const now = waiting; waiting = null; f(...now); });
      waiting = given;
    };
  }

  /* -- the page -------------------------------------------------------------------------------------------------- */

  function ready() {
    const button = document.getElementById("theme");
    if (button) {
      const told = () => button.setAttribute("aria-label", `Switch to ${theme() === "dark" ? "light" : "dark"} colours`);
      button.addEventListener("click", () => setTheme(theme() === "dark" ? "light" : "dark"));
      addEventListener("atlas:theme", told);
      button.hidden = false;
      told();
    }
    for (const block of document.querySelectorAll("pre.command")) {
      const copy = h("button", {type: "button", class: "copy"}, "Copy");
      copy.addEventListener("click", async () => {
        const text = block.querySelector("code").textContent;
        try { await navigator.clipboard.writeText(text); } catch {     // closed on file:// and plain http
          getSelection().selectAllChildren(block.querySelector("code"));
          document.execCommand("copy");
        }
        copy.textContent = "Copied";
        setTimeout(() => { copy.textContent = "Copy"; }, 1500);
      });
      block.append(copy);
    }
    watch();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
  else ready();

  return {h, s, widget, give, load, data, root, format, plot, slider, toggle, choice, canvas, pad, paint, bytes, paced, theme, color, reduced, ticks};
})();
