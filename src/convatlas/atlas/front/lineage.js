"use strict";
/* Networks in rows of their years, and a curve for each idea that one took from another. */
atlas.widget("lineage", (root, {networks, ideas, groups}) => {
  const {h, s} = atlas, STEP = 106, ACROSS = 150, WIDE = 134, HIGH = 32;
  const edges = ideas.flatMap((idea) => idea.taken.map(([from, to, field, value, source]) => ({idea, from, to, field, value, source})));
  const years = [...new Set(networks.map((each) => each.year))].sort((a, b) => a - b);
  const nodes = new Map(networks.map((each) => [each.name, {...each, column: years.indexOf(each.year), row: 0}]));
  // rows: each network near the mean of those it took from, as far as the column has room
  for (const year of years) {
    const column = [...nodes.values()].filter((each) => each.year === year);
    for (const node of column) {
      const before = edges.filter((edge) => edge.to === node.name && nodes.get(edge.from).year < year).map((edge) => nodes.get(edge.from).row);
      node.wish = before.length ? before.reduce((a, b) => a + b) / before.length : 0;
    }
    column.sort((a, b) => a.wish - b.wish || a.name.localeCompare(b.name));
    const mean = column.reduce((sum, each) => sum + each.wish, 0) / column.length;
    column.forEach((node, i) => { node.row = i - (column.length - 1) / 2 + mean * 0.4; });
  }
  for (const node of nodes.values()) { node.x = node.row * ACROSS; node.y = node.column * STEP; }
  const places = [...nodes.values()];
  const box = {left: Math.min(...places.map((each) => each.x)) - WIDE / 2 - 76, right: Math.max(...places.map((each) => each.x)) + WIDE / 2 + 24,
    top: -HIGH / 2 - 28, bottom: (years.length - 1) * STEP + HIGH / 2 + 28};

  const rank = new Map();         // several edges at one side of a node leave it at different heights
  for (const [side, key] of [["from", "to"], ["to", "from"]]) {
    for (const node of places) {
      const here = edges.filter((edge) => edge[side] === node.name).sort((a, b) => nodes.get(a[key]).x - nodes.get(b[key]).x);
      here.forEach((edge, i) => rank.set(`${side} ${edges.indexOf(edge)}`, (i - (here.length - 1) / 2) * Math.min(13, (WIDE - 24) / Math.max(1, here.length - 1))));
    }
  }
  const curve = (edge, i) => {
    const a = nodes.get(edge.from), b = nodes.get(edge.to), xa = a.x + rank.get(`from ${i}`), xb = b.x + rank.get(`to ${i}`), y0 = a.y + HIGH / 2;
    if (a.column === b.column) {        // of one year: below both
      const out = y0 + 20 + 4 * (i % 4);
      return `M${xa} ${y0}C${xa} ${out} ${xb} ${out} ${xb} ${b.y + HIGH / 2}`;
    }
    const y1 = b.y - HIGH / 2, bend = Math.max(26, (y1 - y0) * 0.45);
    return `M${xa} ${y0}C${xa} ${y0 + bend} ${xb} ${y1 - bend} ${xb} ${y1}`;
  };
  const world = s("g"), graph = h("div", {class: "graph"});
  years.forEach((year, i) => world.append(
    i % 2 ? "" : s("rect", {class: "column", y: i * STEP - STEP / 2, height: STEP, x: box.left - 2000, width: box.right - box.left + 4000}),
    s("text", {class: "columnname", x: box.left + 18, y: i * STEP + 5}, year)));
  const touches = edges.map((edge, i) => {
    const d = curve(edge, i);
    edge.line = s("path", {class: `edge ${edge.idea.group}`, d});
    world.append(edge.line);
    return s("path", {class: "touch", d, on: {click: () => pickEdge(edge), pointerenter: () => { if (!picked) pickEdge(edge, true); }}}, s("title", {}, `${edge.to} took ${edge.idea.name} from ${edge.from}`));
  });
  world.append(...touches);
  for (const node of places) {
    node.element = s("g", {class: "node", tabindex: "0", role: "button", transform: `translate(${node.x} ${node.y})`, "aria-label": `${node.name}, ${node.year}`, on: {
      click: () => pickNode(node), keydown(event) { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pickNode(node); } }, focus: () => reveal(node),
    }}, s("rect", {x: -WIDE / 2, y: -HIGH / 2, width: WIDE, height: HIGH}), s("text", {y: 4}, node.name.length > 19 ? `${node.name.slice(0, 18)}…` : node.name));
    world.append(node.element);
  }
  const svg = s("svg", {role: "group", "aria-label": "Graph of networks and ideas; all of it stands in words below"}, world);
  const saying = h("div", {class: "saying", "aria-live": "polite"});
  const link = (name) => h("a", {href: `network/${encodeURIComponent(name)}.html`}, name);
  const line = (edge) => h("li", {}, link(edge.to), ` took ${edge.idea.name} from `, link(edge.from), ": field ", h("code", {}, edge.field), h("span", {class: "value"}, " ", h("code", {}, edge.value)), h("cite", {}, edge.source));
  let picked = null;
  function light(on, some) {
    graph.classList.toggle("some", some);
    for (const edge of edges) edge.line.classList.toggle("on", on.includes(edge));
    const names = new Set(on.flatMap((edge) => [edge.from, edge.to]));
    for (const node of places) { node.element.classList.toggle("on", names.has(node.name) || node === picked); node.element.classList.toggle("picked", node === picked); }
  }
  function pickNode(node) {
    if (picked === node) { clear(); return; }
    picked = node;
    menu.set("");
    const took = edges.filter((edge) => edge.to === node.name), gave = edges.filter((edge) => edge.from === node.name);
    const own = ideas.filter((idea) => idea.enters === node.name);
    light([...took, ...gave], true);
    saying.replaceChildren(h("h3", {}, link(node.name), ` ${node.year}`), own.length ? h("p", {}, `With it enters: ${own.map((idea) => idea.name).join(", ")}.`) : "",
      took.length ? h("ul", {}, took.map(line)) : h("p", {class: "note"}, "It took nothing from another network here."), gave.length ? [h("p", {class: "note"}, "Taken from it:"), h("ul", {}, gave.map(line))] : "");
  }
  function pickEdge(edge, passing = false) {
    if (!passing) picked = edge;
    menu.set("");
    light([edge], true);
    saying.replaceChildren(h("h3", {}, edge.idea.name), h("p", {}, edge.idea.says), h("ul", {}, line(edge)));
  }
  function pickIdea(name) {
    const idea = ideas.find((each) => each.name === name);
    if (!idea) { clear(); return; }
    picked = nodes.get(idea.enters);
    const on = edges.filter((edge) => edge.idea === idea);
    light(on, true);
    saying.replaceChildren(h("h3", {}, idea.name), h("p", {}, idea.says), h("p", {}, "It enters with ", link(idea.enters), "."), h("ul", {}, on.map(line)));
  }
  function clear() {
    picked = null;
    light([], false);
    menu.set("");
    saying.replaceChildren(h("p", {class: "note"}, "Pick a network, a curve, or an idea from the menu. Drag to move; zoom with the buttons, or with the wheel and Ctrl."));
  }
  const menu = atlas.choice("Idea", [["", "all"], ...ideas.map((idea) => idea.name)], "", pickIdea);

  let k = 1, tx = 0, ty = 0, wide = 900, high = 500;
  const fit = () => Math.min(wide / (box.right - box.left), high / (box.bottom - box.top));
  function draw() {
    const hold = (at, size, low, top) => (top - low) * k <= size ? (size - (top - low) * k) / 2 - low * k : Math.min(-low * k, Math.max(size - top * k, at));
    tx = hold(tx, wide, box.left, box.right);
    ty = hold(ty, high, box.top, box.bottom);
    world.setAttribute("transform", `translate(${tx} ${ty}) scale(${k})`);
  }
  function zoom(by, x = wide / 2, y = high / 2) {
    const now = Math.max(fit(), Math.min(3, k * by));
    tx = x - (x - tx) * now / k; ty = y - (y - ty) * now / k; k = now;
    draw();
  }
  function reveal(node) {
    const x = node.x * k + tx, y = node.y * k + ty;
    if (x < 70) tx += 140 - x; else if (x > wide - 70) tx -= x - wide + 140;
    if (y < 30) ty += 60 - y; else if (y > high - 30) ty -= y - high + 60;
    draw();
  }
  const held = new Map();
  svg.addEventListener("pointerdown", (event) => held.set(event.pointerId, [event.offsetX, event.offsetY, 0]));
  svg.addEventListener("pointermove", (event) => {
    const was = held.get(event.pointerId);
    if (!was) return;
    const moved = was[2] + Math.abs(event.offsetX - was[0]) + Math.abs(event.offsetY - was[1]);
    if (held.size === 2) {
      const [, other] = [...held].find(([id]) => id !== event.pointerId);
      zoom(Math.hypot(event.offsetX - other[0], event.offsetY - other[1]) / Math.max(1, Math.hypot(was[0] - other[0], was[1] - other[1])), other[0], other[1]);
    } else if (moved > 4) {
      if (!svg.hasPointerCapture(event.pointerId)) svg.setPointerCapture(event.pointerId);
      tx += event.offsetX - was[0]; ty += event.offsetY - was[1];
      draw();
    }
    held.set(event.pointerId, [event.offsetX, event.offsetY, moved]);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) svg.addEventListener(end, (event) => held.delete(event.pointerId));
  svg.addEventListener("pointerleave", () => { if (!picked) clear(); });
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) {
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) { event.preventDefault(); tx -= event.deltaX; draw(); }
      return;
    }
    event.preventDefault();
    zoom(1.002 ** -event.deltaY, event.offsetX, event.offsetY);
  }, {passive: false});
  graph.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoom(1.3);
    else if (event.key === "-") zoom(1 / 1.3);
    else if (event.key === "0") { k = fit(); draw(); }
    else if (event.key === "Escape") clear();
    else {
      const by = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]}[event.key];
      if (!by) return;
      tx += by[0]; ty += by[1]; draw();
    }
    event.preventDefault();
  });
  const tool = (label, words, f) => h("button", {type: "button", "aria-label": label, title: label, on: {click: f}}, words);
  graph.append(svg, h("div", {class: "tools"}, tool("Zoom in", "+", () => zoom(1.3)), tool("Zoom out", "−", () => zoom(1 / 1.3)), tool("Show all of it", "All", () => { k = fit(); draw(); })));
  root.replaceChildren(h("div", {class: "controls"}, menu, h("p", {class: "legend"}, Object.entries(groups).map(([group, words]) => h("span", {}, h("i", {class: group}), words)))), graph, saying);
  clear();
  let began = false;
  new ResizeObserver(() => {
    const size = svg.getBoundingClientRect();
    if (!size.width) return;
    wide = size.width;
    if (!began) {
      began = true;
      k = Math.max(0.62, Math.min(1.15, wide / (box.right - box.left)));
      svg.style.height = `${Math.round((box.bottom - box.top) * k)}px`;
      tx = wide / 2;                  // the first networks stand in the middle
    }
    high = svg.getBoundingClientRect().height;
    draw();
  }).observe(svg);
});
