"use strict";
/* The layer table of a variant, a page of rows at a time. */
atlas.widget("layers", async (root, {name}) => {
  const {h, format} = atlas, data = await atlas.load(`network/${name}`), PAGE = 24;
  const all = atlas.rows(data);
  const most = {params: Math.max(1, ...all.map((row) => row.params)), macs: Math.max(1, ...all.map((row) => row.macs))};
  let rows = all, at = 0, marked = -1;
  const body = h("tbody"), said = h("span", {class: "note", role: "status"});
  const find = h("input", {type: "search", id: "find-layer", autocomplete: "off", placeholder: "name or type"});
  const step = (label, f) => h("button", {type: "button", on: {click: f}}, label);
  const before = step("Earlier", () => show(at - PAGE)), after = step("Later", () => show(at + PAGE));
  const cost = (value, of) => value ? [format.count(value), h("span", {class: "share", "aria-hidden": "true"}, h("i", {style: {width: `${(100 * value / of).toFixed(1)}%`}}))] : "";
  function show(from) {
    at = Math.max(0, Math.min(from, Math.floor(Math.max(0, rows.length - 1) / PAGE) * PAGE));
    body.replaceChildren(...rows.slice(at, at + PAGE).map((row) => h("tr", {"data-row": row.number, class: row.number === marked ? "marked" : null},
      h("th", {scope: "row"}, h("code", {}, row.name)), h("td", {class: "soft"}, row.type), h("td", {class: "soft"}, row.output.join("×")),
      h("td", {}, row.kernel), h("td", {class: "n"}, cost(row.params, most.params)), h("td", {class: "n"}, cost(row.macs, most.macs)),
      h("td", {class: "n"}, row.sight ? format.count(Math.max(...row.sight.map(([, first, last]) => last - first + 1))) : ""))));
    said.textContent = rows.length ? `${at + 1} to ${Math.min(at + PAGE, rows.length)} of ${rows.length}` : "none";
    before.disabled = at === 0;
    after.disabled = at + PAGE >= rows.length;
    before.hidden = after.hidden = rows.length <= PAGE;
  }
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows = all.filter((row) => words.every((word) => `${row.name} ${row.type} ${row.kernel}`.toLowerCase().includes(word)));
    show(0);
  });
  addEventListener("atlas:layer", (event) => {
    marked = event.detail.row;
    const i = rows.findIndex((row) => row.number === marked);
    if (i >= 0) show(Math.floor(i / PAGE) * PAGE);
  });
  root.replaceChildren(h("div", {class: "pager"}, h("label", {for: "find-layer", class: "note"}, "Find"), find, before, after, said),
    h("div", {class: "scroll layers", tabindex: "0", role: "region", "aria-label": "Table of layers"}, h("table", {},
      h("thead", {}, h("tr", {}, ["layer", "type", "output", "kernel"].map((head) => h("th", {scope: "col"}, head)),
        ["parameters", "multiply-adds", "sees"].map((head) => h("th", {scope: "col", class: "n"}, head)))), body,
      h("tfoot", {}, h("tr", {}, h("th", {scope: "row", colspan: "4"}, "all"), h("td", {class: "n"}, format.count(data.params)), h("td", {class: "n"}, format.count(data.macs)), h("td"))))));
  show(0);
});
