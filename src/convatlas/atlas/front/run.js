"use strict";
/* A run's page. An item is [true class, said class, confidence, name, x, y]. */
(() => {
  const {h, format} = atlas, PAGE = 48, CELLS = 30;
  const get = ({slug}) => atlas.load(`run/${slug}`);
  const source = (run, i) => `${run.slug}/${i}.png`;
  const shot = (run, i) => {
    const [truth, said, share, name] = run.items[i], right = truth === said;
    return h("li", {}, h("img", {src: source(run, i), alt: "", loading: "lazy", width: 96, height: 96}),
      h("span", {}, run.several ? null : [run.classes[truth], right ? null : [" → ", h("em", {}, run.classes[said])]]), h("span", {class: "soft"}, `${format.percent(share, 0)} · ${name}`));
  };
  /** Images, a page at a time. */
  function gallery(host, run, numbers, title) {
    let at = 0;
    const list = h("ul", {class: "shots"}), more = h("button", {type: "button", on: {click: grow}}, "More");
    function grow() {
      list.append(...numbers.slice(at, at + PAGE).map((i) => shot(run, i)));
      at += PAGE;
      more.hidden = at >= numbers.length;
    }
    host.replaceChildren(h("h3", {}, title), list, more);
    grow();
  }

  atlas.widget("curves", async (root, data) => {
    const {curves} = await get(data), host = h("div", {class: "plots"});
    if (!curves.epoch) { root.replaceChildren(h("p", {class: "note"}, "No epoch is finished yet.")); return; }
    const line = (column, name, dashed) => curves[column] ? {name, dashed, points: curves.epoch.map((epoch, i) => [epoch, curves[column][i]])} : null;
    for (const [title, lines, y] of [
      ["Loss", [line("val_loss", "validation"), line("train_loss", "training", true)], {}],
      ["Accuracy", [line("val_top1", "validation"), line("train_top1", "training", true)], {format: (v) => format.percent(v, 1)}],
      ["Mean intersection over union", [line("val_iou", "validation")], {format: (v) => format.percent(v, 1)}],
      ["Learning rate", [line("lr", "rate")], {}],
    ]) {
      const there = lines.filter(Boolean);
      if (!there.length) continue;
      const one = h("div");
      host.append(h("div", {}, h("h3", {}, title), one));
      atlas.plot(one, {title, lines: there, x: {label: "epoch", format: (v) => String(+v.toFixed(2))}, y: {...y}});
    }
    root.replaceChildren(host);
  });

  atlas.widget("confusion", async (root, data) => {
    const run = await get(data), cells = new Map(), out = h("div", {"aria-live": "polite"});
    run.items.forEach(([truth, said], i) => {
      const key = `${truth} ${said}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(i);
    });
    const title = (truth, said) => truth === said ? `${run.classes[truth]}, and said to be` : `${run.classes[truth]}, taken for ${run.classes[said]}`;
    let pressed = null;
    const show = (button, truth, said) => {
      pressed?.setAttribute("aria-pressed", "false");
      pressed = button;
      button.setAttribute("aria-pressed", "true");
      gallery(out, run, cells.get(`${truth} ${said}`), `${title(truth, said)}: ${cells.get(`${truth} ${said}`).length}`);
    };
    const n = run.classes.length;
    if (n > CELLS) {
      const pairs = [...cells].filter(([key]) => key.split(" ")[0] !== key.split(" ")[1]).sort((a, b) => b[1].length - a[1].length).slice(0, 60);
      root.replaceChildren(h("ul", {class: "keys"}, pairs.map(([key, items]) => {
        const [truth, said] = key.split(" ").map(Number);
        const button = h("button", {type: "button", "aria-pressed": "false", on: {click: () => show(button, truth, said)}}, `${title(truth, said)}: ${items.length}`);
        return h("li", {}, button);
      })), out);
      return;
    }
    const sums = run.classes.map((_, truth) => run.items.filter((item) => item[0] === truth).length);
    const buttons = [];
    const body = run.classes.map((name, truth) => h("tr", {}, h("th", {scope: "row", title: name}, name), run.classes.map((_, said) => {
      const items = cells.get(`${truth} ${said}`) || [], share = items.length / Math.max(1, sums[truth]);
      const button = h("button", {type: "button", disabled: !items.length, "aria-pressed": "false", class: truth === said ? "right" : "wrong",
        "aria-label": `${items.length} of ${title(truth, said)}`, tabindex: truth === said ? "0" : "-1",
        style: {"--share": `${items.length ? Math.round(truth === said ? 8 + share * 42 : 14 + Math.min(1, share * 4) * 40) : 0}%`}, on: {
          click: () => show(button, truth, said),
          keydown(event) {
            const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
            if (!by) return;
            event.preventDefault();
            for (let [row, column] = [truth + by[0], said + by[1]]; row >= 0 && column >= 0 && row < n && column < n; row += by[0], column += by[1]) {
              const next = buttons[row * n + column];
              if (!next.disabled) { next.tabIndex = 0; next.focus(); return; }
            }
          },
        }}, items.length || "0");
      buttons.push(button);
      return h("td", {}, button);
    })));
    root.replaceChildren(h("div", {class: "scroll"}, h("table", {class: "matrix"}, h("caption", {class: "hidden"}, "Confusion matrix"),
      h("thead", {}, h("tr", {}, h("td"), run.classes.map((name) => h("th", {scope: "col", title: name}, name)))), h("tbody", {}, body))), out);
  });

  atlas.widget("mistakes", async (root, data) => {
    const run = await get(data), out = h("div");
    const wrong = run.items.map((item, i) => i).filter((i) => run.items[i][0] !== run.items[i][1]).sort((a, b) => run.items[b][2] - run.items[a][2]);
    if (!wrong.length) { root.replaceChildren(h("p", {class: "note"}, "There are none.")); return; }
    const show = (least) => {
      const fit = wrong.filter((i) => run.items[i][2] >= least);
      gallery(out, run, fit, `${fit.length} of ${run.items.length} images`);
    };
    root.replaceChildren(h("div", {class: "controls"}, atlas.slider("Confidence, at least", {min: 0, max: 1, step: 0.01, value: 0, format: (v) => format.percent(v, 0)}, show)), out);
    show(0);
  });

  atlas.widget("map", async (root, data) => {
    const run = await get(data), WIDE = 900, HIGH = 560, host = h("div"), picture = h("div", {class: "shot", "aria-live": "polite"}), keys = h("ul", {class: "keys"});
    const canvas = atlas.canvas(host, WIDE, HIGH, `Map of ${run.items.length} images; arrow keys step from image to image`), context = canvas.context;
    canvas.setAttribute("role", "application");
    canvas.tabIndex = 0;
    let by = "truth", at = -1;
    const X = (x) => WIDE / 2 + x * (WIDE / 2 - 20), Y = (y) => HIGH / 2 - y * (HIGH / 2 - 20);
    const hue = (i) => `hsl(${(i * 360 / Math.max(1, run.classes.length) + 215) % 360} 62% ${atlas.theme() === "dark" ? 64 : 44}%)`;
    const ink = ([truth, said]) => by === "right" ? (truth === said ? atlas.color("--accent") : atlas.color("--wrong")) : hue(by === "truth" ? truth : said);
    function draw() {
      const colors = new Map();
      context.clearRect(0, 0, WIDE, HIGH);
      for (const item of run.items) {
        const key = by === "right" ? item[0] === item[1] : item[by === "truth" ? 0 : 1];
        if (!colors.has(key)) colors.set(key, ink(item));
        context.fillStyle = colors.get(key);
        context.beginPath();
        context.arc(X(item[4]), Y(item[5]), 3.6, 0, 7);
        context.fill();
      }
      if (at >= 0) {
        context.strokeStyle = atlas.color("--ink");
        context.lineWidth = 2;
        context.beginPath();
        context.arc(X(run.items[at][4]), Y(run.items[at][5]), 8, 0, 7);
        context.stroke();
      }
    }
    function show(i) {
      at = i;
      const [truth, said, share, name] = run.items[i];
      picture.replaceChildren(h("img", {src: source(run, i), alt: ""}), h("p", {class: "note"}, run.several ? "" : truth === said ? run.classes[truth] : [`${run.classes[truth]}, taken for `, h("em", {}, run.classes[said])], h("br"), `${format.percent(share, 0)} · ${name}`));
      draw();
    }
    const order = run.items.map((_, i) => i).sort((a, b) => run.items[a][4] - run.items[b][4]);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * WIDE, y = (event.clientY - box.top) / box.height * HIGH;
      let best = -1, least = 400;
      run.items.forEach((item, i) => { const off = (X(item[4]) - x) ** 2 + (Y(item[5]) - y) ** 2; if (off < least) { least = off; best = i; } });
      if (best >= 0 && best !== at) show(best);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!step) return;
      event.preventDefault();
      show(order[Math.max(0, Math.min(order.length - 1, order.indexOf(at) + step))]);
    });
    const legend = () => keys.replaceChildren(...(by === "right" ? [["right", atlas.color("--accent")], ["wrong", atlas.color("--wrong")]] : run.classes.length <= 20 ? run.classes.map((name, i) => [name, hue(i)]) : [])
      .map(([name, color]) => h("li", {}, h("i", {style: {background: color}}), name)));
    const choose = run.several ? null : atlas.choice("Colour", [["truth", "true class"], ["said", "predicted class"], ["right", "right or wrong"]], by, (now) => { by = now; legend(); draw(); });
    if (run.several) by = "said";
    root.replaceChildren(...[choose, keys, h("div", {class: "mapped"}, host, picture), h("p", {class: "note"}, `The two directions hold ${run.variance.map((share) => format.percent(share, 0)).join(" and ")} of the variance.`)].filter(Boolean));
    addEventListener("atlas:theme", () => { legend(); draw(); });
    legend();
    show(order[order.length >> 1]);
  });
})();
