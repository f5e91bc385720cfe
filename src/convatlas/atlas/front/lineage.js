"use strict";
/* Networks in columns of their years, and a curve for each idea that one took from another. */
atlas.widget("lineage", (root, {networks, ideas, groups}) => {
  const {h, s} = atlas, COLUMN = 158, ROW = 56, WIDE = 126, HIGH = 30;
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
  for (const node of nodes.values()) { node.x = node.column * COLUMN; node.y = node.row * ROW; }
  const places = [...nodes.values()];
  const box = {left: -WIDE / 2 - 24, right: (years.length - 1) * COLUMN + WIDE / 2 + 24, top: Math.min(...places.map((each) => each.y)) - 70, bottom: Math.max(...places.map((each) => each.y)) + 50};

  const rank = new Map();         // several edges at one side of a node leave it at different heights
  for (const [side, key] of [["from", "to"], ["to", "from"]]) {
    for (const node of places) {
      const here = edges.filter((edge) => edge[side] === node.name).sort((a, b) => nodes.get(a[key]).y - nodes.get(b[key]).y);
      here.forEach((edge, i) => rank.set(`${side} ${edges.indexOf(edge)}`, (i - (here.length - 1) / 2) * Math.min(6, (HIGH - 8) / Math.max(1, here.length - 1))));
    }
  }
  const curve = (edge, i) => {
    const a = nodes.get(edge.from), b = nodes.get(edge.to), ya = a.y + rank.get(`from ${i}`), yb = b.y + rank.get(`to ${i}`), x0 = a.x + WIDE / 2;
    if (a.column === b.column) {
      const out = x0 + 18 + 4 * (i % 5);
      return `M${x0} ${ya}C${out} ${ya} ${out} ${yb} ${b.x + WIDE / 2} ${yb}`;
    }
    const x1 = b.x - WIDE / 2, bend = Math.max(22, (x1 - x0) * 0.42);
    return `M${x0} ${ya}C${x0 + bend} ${ya} ${x1 - bend} ${yb} ${x1} ${yb}`;
  };
  const world = s("g"), graph = h("div", {class: "graph"});
  years.forEach((year, i) => world.append(
    i % 2 ? "" : s("rect", {class: "column", x: i * COLUMN - COLUMN / 2, width: COLUMN, y: box.top - 2000, height: box.bottom - box.top + 4000}),
    s("text", {class: "columnname", x: i * COLUMN, y: box.top + 26}, year)));
  const lines = edges.map((edge, i) => {
    const d = curve(edge, i);
    edge.line = s("path", {class: `edge ${edge.idea.group}`, d});
    world.append(edge.line);
    return s("path", {class: "touch", d, on: {click: () => pickEdge(edge), pointerenter: () => { if (!picked) pickEdge(edge, true); }}}, s("title", {}, `${edge.to} took ${edge.idea.name} from ${edge.from}`));
  });
  world.append(...lines);
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
    if (y < 40) ty += 80 - y; else if (y > high - 30) ty -= y - high + 60;
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
    [wide, high] = [size.width, size.height];
    if (!began) { began = true; k = Math.max(fit(), 0.5); tx = wide - box.right * k; }
    draw();
  }).observe(svg);
});
