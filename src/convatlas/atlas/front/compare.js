"use strict";
/* Two variants side by side; the two names stand behind the ? of the address. */
atlas.widget("compare", (root, {names, pairs}) => {
  const {h, format} = atlas;
  const wanted = new URLSearchParams(location.search);
  const inside = (name) => names.includes(name);
  const list = h("datalist", {id: "names"}, names.map((name) => h("option", {value: name})));
  const pick = (id, label) => h("input", {id, type: "text", list: "names", autocomplete: "off", spellcheck: "false", "aria-label": label});
  const a = pick("a", "First network"), b = pick("b", "Second network"), out = h("div"), said = h("p", {class: "note", role: "status"});
  [a.value, b.value] = [wanted.get("a") ?? pairs[0][0], wanted.get("b") ?? pairs[0][1]];

  const ROWS = [
    ["parameters", (d) => d.params, format.count, true], ["multiply-adds", (d) => d.macs, format.count, true],
    ["layers with weights", (d) => d.depth, String, true],
    ["values that layers make, for one image", (d) => d.activations, format.count, true],
    ["last map sees, in pixels", (d) => d.sees, (v) => v === null ? "–" : String(v), true], ["input", (d) => d.input, String],
    ["year", (d) => d.year, String], ["built as in", (d) => d.fidelity, String],
  ];
  const link = (d) => h("a", {href: `network/${encodeURIComponent(d.name)}.html`}, d.name);
  const head = (first, x, y) => h("thead", {}, h("tr", {}, h("th", {scope: "col"}, first), h("th", {scope: "col", class: "n"}, link(x)), h("th", {scope: "col", class: "n"}, link(y))));
  const table = (label, ...children) => h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": label}, h("table", {class: "compared"}, children));

  function ratio(x, y) {
    const by = y / x;
    return !Number.isFinite(by) || by === 1 ? "" : by > 1 ? `× ${format.plain(by)}` : `÷ ${format.plain(1 / by)}`;
  }
  function costs(x, y) {
    return table("Cost", head("figure", x, y), h("tbody", {}, ROWS.map(([label, read, write, counts]) => {
      const [p, q] = [read(x), read(y)];
      return h("tr", {}, h("th", {scope: "row"}, label), h("td", {class: `n${counts && p > q ? " more" : ""}`}, write(p)),
        h("td", {class: `n${counts && q > p ? " more" : ""}`}, write(q), counts && p && q && p !== q ? h("small", {class: "soft"}, `  ${ratio(p, q)}`) : null));
    })));
  }
  function fields(x, y) {
    const keys = [...new Set([...Object.keys(x.spec), ...Object.keys(y.spec)])].filter((key) => x.spec[key] !== y.spec[key]);
    if (!keys.length) return h("p", {class: "note"}, "Their specifications are equal.");
    return table("Specification", head("field", x, y), h("tbody", {}, keys.map((key) => h("tr", {}, h("th", {scope: "row"}, h("code", {}, key)),
      [x, y].map((d) => h("td", {class: "n wraps"}, key in d.spec ? h("code", {}, d.spec[key]) : h("span", {class: "soft"}, "no such field")))))));
  }
  function made(x, y) {
    const only = (p, q) => p.parts.filter((part) => !q.parts.includes(part));
    const both = x.parts.filter((part) => y.parts.includes(part));
    const say = (words) => words.length ? words.join(", ") : "nothing";
    return h("dl", {class: "about"}, h("dt", {}, "Both"), h("dd", {}, say(both)), h("dt", {}, `${x.name} alone`), h("dd", {}, say(only(x, y))),
      h("dt", {}, `${y.name} alone`), h("dd", {}, say(only(y, x))));
  }
  /** Layers by kind: how many, and what they hold and cost. */
  function kinds(x, y) {
    const sum = (d) => {
      const found = new Map();
      for (const row of atlas.rows(d)) {
        const kind = /Conv/.test(row.type) ? `${row.type} ${row.kernel.replace(/ .*|\/.*/, "")}${/ g/.test(row.kernel) ? ", grouped" : ""}` : row.type;
        const each = found.get(kind) || {count: 0, params: 0, macs: 0};
        found.set(kind, {count: each.count + 1, params: each.params + row.params, macs: each.macs + row.macs});
      }
      return found;
    };
    const [p, q] = [sum(x), sum(y)];
    const all = [...new Set([...p.keys(), ...q.keys()])].sort((m, n) => Math.max(q.get(n)?.macs || 0, p.get(n)?.macs || 0) - Math.max(q.get(m)?.macs || 0, p.get(m)?.macs || 0) || m.localeCompare(n));
    const cell = (each) => each ? [`${each.count}`, h("small", {class: "soft"}, each.params || each.macs ? `  ${format.short(each.params)} · ${format.short(each.macs)}` : "")] : "–";
    return table("Layers by kind", head("layer", x, y), h("tbody", {}, all.map((kind) => h("tr", {}, h("th", {scope: "row"}, kind), h("td", {class: "n"}, cell(p.get(kind))), h("td", {class: "n"}, cell(q.get(kind)))))));
  }
  /** Multiply-adds and parameters as they add up from input to output. */
  function course(host, x, y) {
    const line = (d, key) => {
      let sum = 0;
      const all = atlas.rows(d).filter((row) => row.params || row.macs);
      return {name: d.name, points: [[0, 0], ...all.map((row, i) => [(i + 1) / all.length, (sum += row[key]) / 1])]};
    };
    const thin = (l) => ({...l, points: l.points.filter((_, i) => i % Math.ceil(l.points.length / 300) === 0 || i === l.points.length - 1)});
    for (const [key, label] of [["params", "parameters"], ["macs", "multiply-adds"]]) {
      const one = h("div");
      host.append(one);
      atlas.plot(one, {title: `${label} added up from input to output`, lines: [thin(line(x, key)), thin(line(y, key))],
        x: {label: "share of the layers", format: (v) => format.percent(v, 0), min: 0, max: 1}, y: {label, format: format.plain}});
    }
  }

  let asked = 0;
  async function show() {
    const pair = [a.value.trim(), b.value.trim()];
    const wrong = pair.filter((name) => !inside(name));
    a.setAttribute("aria-invalid", !inside(pair[0])); b.setAttribute("aria-invalid", !inside(pair[1]));
    if (wrong.length) { said.textContent = `There is no network ${wrong.map((name) => `“${name}”`).join(" and ")}.`; return; }
    const mine = ++asked;
    const [x, y] = await Promise.all(pair.map((name) => atlas.load(`network/${name}`)));
    if (mine !== asked) return;
    said.textContent = "";
    try { history.replaceState(null, "", `?a=${encodeURIComponent(x.name)}&b=${encodeURIComponent(y.name)}`); } catch { /* file:// of some browsers */ }
    document.title = `${x.name} and ${y.name} · convatlas`;
    const plots = h("div", {class: "side"}), left = h("div", {class: "diagram"}), right = h("div", {class: "diagram"});
    const part = (label, note, ...children) => h("section", {}, h("h2", {}, label), note ? h("p", {class: "under"}, note) : null, children);
    out.replaceChildren(part("Cost", "", costs(x, y), plots), part("Specification", "The fields in which they differ.", fields(x, y)),
      part("Made of", "", made(x, y)), part("Layers by kind", "How many; their parameters · multiply-adds.", kinds(x, y)),
      part("Diagrams", "", h("h3", {}, x.name), left, h("h3", {}, y.name), right));
    course(plots, x, y);
    atlas.diagram(left, x);
    atlas.diagram(right, y);
    root.dataset.shown = `${x.name} ${y.name}`;
  }
  const swap = h("button", {type: "button", on: {click() { [a.value, b.value] = [b.value, a.value]; show(); }}}, "Swap");
  for (const input of [a, b]) input.addEventListener("change", show);
  root.replaceChildren(h("div", {class: "picks"}, h("div", {}, h("label", {for: "a"}, "First"), a), h("div", {}, h("label", {for: "b"}, "Second"), b)),
    h("p", {}, swap), said, h("p", {class: "note"}, "Pairs that are an idea each:"),
    h("ul", {class: "pairs"}, pairs.map(([x, y]) => h("li", {}, h("a", {href: `?a=${x}&b=${y}`, on: {click(event) { event.preventDefault(); [a.value, b.value] = [x, y]; show(); }}}, `${x} · ${y}`)))), list, out);
  return show();
});
