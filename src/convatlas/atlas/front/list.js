"use strict";
/* The list of all networks: search, filters and order; what is chosen stands behind the # of the address. */
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.filters"), table = document.getElementById("list");
  const body = table.tBodies[0], rows = [...body.rows], count = document.getElementById("count");
  const heads = [...table.querySelectorAll("th[data-key]")];
  const fields = [...form.elements].filter((each) => each.name);
  let key = "name", down = false;

  /** "25M" as 25000000; NaN of what is no number. */
  function amount(text) {
    const found = /^([\d.]+)\s*([kmgt]?)$/i.exec(text.trim());
    return found ? Number(found[1]) * {"": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12}[found[2].toLowerCase()] : NaN;
  }

  function fits(row, wanted) {
    const d = row.dataset;
    return wanted.words.every((word) => d.text.includes(word))
      && (!wanted.family || d.family === wanted.family) && (!wanted.fidelity || d.fidelity === wanted.fidelity)
      && (!wanted.part || d.parts.split("|").includes(wanted.part))
      && !(Number(d.year) < wanted.from) && !(Number(d.year) > wanted.to)
      && !(Number(d.params) > wanted.params) && !(Number(d.macs) > wanted.macs);
  }

  function update() {
    const given = Object.fromEntries(fields.map((field) => [field.name, field.value]));
    for (const name of ["params", "macs"]) {
      const wrong = given[name] !== "" && Number.isNaN(amount(given[name]));
      form.elements[name].setAttribute("aria-invalid", wrong);
      form.elements[name].setCustomValidity(wrong ? "a number such as 25M" : "");
    }
    const wanted = {
      words: given.q.toLowerCase().split(/\s+/).filter(Boolean), family: given.family, fidelity: given.fidelity, part: given.part,
      from: given.from ? Number(given.from) : NaN, to: given.to ? Number(given.to) : NaN,
      params: amount(given.params), macs: amount(given.macs),
    };
    let shown = 0;
    for (const row of rows) {
      row.hidden = !fits(row, wanted);
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length}`;
    document.getElementById("none").hidden = shown > 0;
    const kept = new URLSearchParams(Object.entries(given).filter(([, value]) => value !== ""));
    if (key !== "name" || down) kept.set("sort", (down ? "-" : "") + key);
    history.replaceState(null, "", kept.size ? `#${kept}` : location.pathname + location.search);
  }

  function order() {
    const words = ["name", "fidelity", "input"].includes(key);
    const value = (row) => words ? row.dataset[key] : Number(row.dataset[key]);
    const sorted = [...rows].sort((a, b) => {
      const by = words ? value(a).localeCompare(value(b), "en", {numeric: true}) : value(a) - value(b);
      return (down ? -by : by) || a.dataset.name.localeCompare(b.dataset.name, "en", {numeric: true});
    });
    body.append(...sorted);
    for (const head of heads) {
      if (head.dataset.key === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      down = head.dataset.key === key ? !down : false;
      key = head.dataset.key;
      order();
      update();
    });
  }
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      form.elements.q.focus();
    }
    if (event.key === "Escape" && document.activeElement === form.elements.q) { form.elements.q.value = ""; update(); }
  });

  function read() {
    const kept = new URLSearchParams(location.hash.slice(1));
    for (const field of fields) field.value = kept.get(field.name) ?? "";
    const sort = kept.get("sort");
    if (sort && heads.some((head) => head.dataset.key === sort.replace("-", ""))) { down = sort.startsWith("-"); key = sort.replace("-", ""); }
    order();
    update();
  }
  addEventListener("hashchange", read);
  read();
});
