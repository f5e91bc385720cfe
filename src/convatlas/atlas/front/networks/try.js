"use strict";
/* The page on which every network that comes along answers: draw, take a picture of the data, or bring one. */

atlas.widget("try", async (root, {networks}) => {
  const {h} = atlas, {digit, rgba, bars, maps, plane} = atlas.running, PAD = 56;
  const FIRST = networks[0].name, wanted = new URLSearchParams(location.search).get("net");
  let about = networks.find((each) => each.name === wanted) || networks.find((each) => each.name === FIRST), net = null, picture = null, last = null;
  const said = h("p", {class: "told", "aria-live": "polite"}), given = h("div", {class: "given"}), answer = h("div"), inside = h("div"), seen = h("figure", {class: "shown"});
  const chosen = atlas.choice("Network", networks.map((each) => [each.name, `${each.name} · ${each.classes.length || "unnamed"} classes, ${atlas.format.short(each.parameters)} parameters`]), about.name, (name) => take(name));
  root.replaceChildren(h("div", {class: "controls"}, chosen), h("div", {class: "columns"}, h("div", {}, h("h2", {}, "A picture"), given), h("div", {}, h("h2", {}, "The answer"), said, seen, answer)), inside);

  /** Open a network, and offer what it may be shown; what cannot be opened is told, and another one can be chosen. */
  async function take(name) {
    try { await offer(name); } catch (error) {
      if (about.name === name) said.textContent = `${name} could not be opened: ${error.message}.`;
    }
  }

  async function offer(name) {
    about = networks.find((each) => each.name === name);
    net = picture = last = null;
    for (const each of [given, answer, inside, seen]) each.replaceChildren();
    said.textContent = `Opening ${name} …`;
    const [opened, images] = await Promise.all([atlas.network(name), pictures(about.data)]);
    if (about.name !== name) return;        // another one has been chosen meanwhile
    net = opened;
    said.textContent = "Nothing has been shown to it yet.";
    const ways = h("div"), file = h("input", {type: "file", accept: "image/*", id: "own-picture"});
    given.replaceChildren(ways, h("p", {class: "control own"}, h("label", {for: "own-picture"}, "Your own picture; it stays on this machine"), file));
    file.addEventListener("change", () => file.files.length && own(file.files[0]));
    if (about.data === "digits") {
      atlas.pad(ways, {size: PAD, width: 224, pen: 6, label: "Draw a digit", changed: atlas.paced((ink) => show({pixels: rgba(digit(ink, PAD)), width: 8, height: 8}))});
    }
    if (images.length) {
      const place = h("div", {class: "samples"}, sample(images, 12).map(({name: label, pixels, width, height}) => {
        const button = h("button", {type: "button", class: "sample", "aria-label": `Take ${label}`, on: {click: () => show({pixels, width, height})}});
        button.append(thumb(pixels, width, height, label, 44));
        return button;
      }));
      ways.append(h("p", {class: "note"}, "Or one that comes along:"), place);
      if (about.data !== "digits") show(images[0]);
    }
  }

  const thumb = (pixels, width, height, label, size) => {
    const canvas = h("canvas", {width, height, class: "crisp", role: "img", "aria-label": label, style: {width: `${size}px`, "aspect-ratio": `${width} / ${height}`}});
    canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    return canvas;
  };
  const sample = (all, count) => Array.from({length: Math.min(count, all.length)}, (_, i) => all[Math.floor(i * all.length / Math.min(count, all.length))]);

  /** The site's pictures of a data set: {name, label, pixels (RGBA), width, height}. */
  async function pictures(data) {
    if (data === "nuclei") {
      return Promise.all((await atlas.load("pictures")).map(async ({name, source}) => ({name, ...await pixelsOf(source)})));
    }
    if (!data) return [];
    const {pixels, labels} = await atlas.load(data === "digits" ? "digits8" : "fashion"), all = atlas.bytes(pixels), side = Math.sqrt(all.length / labels.length);
    const names = networks.find((each) => each.data === data).classes;
    return labels.map((label, i) => {
      const one = all.slice(i * side * side, (i + 1) * side * side);
      return {name: `${names[label]}, picture ${i + 1}`, label, pixels: rgba(data === "digits" ? one.map((count) => Math.round(count * 255 / 16)) : one), width: side, height: side};
    });
  }
  async function pixelsOf(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const by = Math.min(1, 1024 / Math.max(image.width, image.height)), width = Math.max(1, Math.round(image.width * by)), height = Math.max(1, Math.round(image.height * by));
    const canvas = h("canvas", {width, height}), context = canvas.getContext("2d", {willReadFrequently: true});
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
    return {pixels: context.getImageData(0, 0, width, height).data, width, height};
  }
  async function own(file) {
    const address = URL.createObjectURL(file);
    try { show(await pixelsOf(address)); } catch { said.textContent = `${file.name} is no picture that the browser reads.`; } finally { URL.revokeObjectURL(address); }
  }

  const time = (spent) => spent < 1 ? "under 1 ms" : `${spent.toFixed(spent < 100 ? 1 : 0)} ms`;       // finer no browser is sure of

  /** Answer a picture, and open what is inside. */
  function show(now) {
    if (!net) return;
    picture = now;
    const image = net.prepare(now.pixels, now.width, now.height), began = performance.now(), found = net.run(image), spent = performance.now() - began;
    last = {image, scores: found.scores, maps: found.maps(), shares: net.segments ? null : net.shares(found.scores)};
    seen.replaceChildren(plane("What the network sees", image, net.height, net.width, {size: 128, channels: net.channels === 3 ? 3 : 1}), h("figcaption", {}, `What it sees: ${net.width}×${net.height} pixels.`));
    if (net.segments) return segmented(spent);
    const best = [...last.shares.keys()].sort((a, b) => last.shares[b] - last.shares[a]).slice(0, 5);
    said.textContent = `${net.names[best[0]]}, ${atlas.format.percent(last.shares[best[0]])}; ${time(spent)}.`;
    root.dataset.answer = JSON.stringify({name: about.name, best: net.names[best[0]], shares: [...last.shares],
      picture: now.width * now.height > 4096 ? null : {width: now.width, height: now.height, grey: [...now.pixels].filter((_, i) => i % 4 === 0)}});
    answer.replaceChildren(bars(best.map((i) => [net.names[i], last.shares[i]])));
    open(best[0]);
  }

  /** What a network that scores pixels takes for each class, over the picture. */
  function segmented(spent) {
    const area = net.height * net.width, {scores} = last, taken = new Float32Array(area);
    for (let i = 0; i < area; i++) for (let k = 1; k < net.classes; k++) if (scores[k * area + i] > scores[taken[i] * area + i]) taken[i] = k;
    const count = taken.reduce((sum, k) => sum + (k > 0), 0);
    said.textContent = `${atlas.format.percent(count / area)} of the pixels are ${net.names.slice(1).join(" or ")}; ${time(spent)}.`;
    root.dataset.answer = JSON.stringify({name: about.name, share: count / area});
    answer.replaceChildren(h("figure", {class: "shown"}, plane("The class of each pixel", taken, net.height, net.width, {low: 0, high: net.classes - 1, size: 256}), h("figcaption", {}, "The likeliest class of each pixel.")));
    open(null);
  }

  /** The sections below: where it looked, what is like it, its maps. Rebuilt when a picture comes, filled when opened. */
  function open(best) {
    const kept = new Set([...inside.querySelectorAll("details[open]")].map((each) => each.dataset.name));
    const part = (name, title, fill) => {
      const place = h("div"), made = h("details", {dataset: {name}}, h("summary", {}, title), place);
      const now = () => { if (made.open && !place.childElementCount) fill(place); };
      made.addEventListener("toggle", now);
      made.open = kept.has(name);
      return made;
    };
    inside.replaceChildren(...[
      best !== null && part("where", net.linear !== null ? "Where it looked: Grad-CAM" : "Where it looked: occlusion", (place) => net.linear !== null ? activation(place, best) : occlusion(place, best)),
      best !== null && net.hidden !== null && ["digits", "fashion-small"].includes(about.data) && part("like", "Nearest neighbours", neighbours),
      part("maps", "Activations of each layer", layers),
    ].filter(Boolean));
  }

  /** The head is linear after the mean of a map: the weights of a class, times the maps, say what each place gives to its score. */
  function activation(place, best) {
    const {channels, height, width, values} = last.maps[net.pooled], weight = net.weights(net.linear), area = height * width, sums = new Float32Array(area);
    for (let c = 0; c < channels; c++) for (let i = 0; i < area; i++) sums[i] += weight[best * channels + c] * values[c * area + i];
    place.append(h("figure", {class: "shown"}, plane(`What each place gives to ${net.names[best]}: blue for, orange against`, sums, height, width, {signed: true, size: 160}),
      h("figcaption", {}, `What each of ${width}×${height} places gives to the score of ${net.names[best]}: blue for it, orange against. The head is linear after the mean over the map, so Grad-CAM is exactly the class-activation map, here before its negative part is cut off.`)));
  }

  /** Elsewhere gradients would be needed: a grey square over each place, and what that takes from the class's score. Its share would not
      do: where it is all but 1 hiding hardly moves it. */
  function occlusion(place, best) {
    const steps = 12, high = Math.max(2, Math.round(net.height / 5)), wide = Math.max(2, Math.round(net.width / 5)), lost = new Float32Array(steps * steps), shares = new Float32Array(steps * steps), area = net.height * net.width;
    const grey = [...Array(net.channels).keys()].map((c) => last.image.subarray(c * area, (c + 1) * area).reduce((a, b) => a + b, 0) / area);
    for (let at = 0; at < lost.length; at++) {
      const top = Math.round(Math.floor(at / steps) * (net.height - high) / (steps - 1)), left = Math.round(at % steps * (net.width - wide) / (steps - 1)), hidden = last.image.slice();
      for (let c = 0; c < net.channels; c++) for (let y = top; y < top + high; y++) hidden.fill(grey[c], c * area + y * net.width + left, c * area + y * net.width + left + wide);
      const {scores} = net.run(hidden);
      lost[at] = last.scores[best] - scores[best];
      shares[at] = net.shares(scores)[best];
    }
    const most = lost.indexOf(Math.max(...lost)), {percent} = atlas.format;
    place.append(h("figure", {class: "shown"}, plane(`What hiding each place takes from the score of ${net.names[best]}: blue takes, orange gives`, lost, steps, steps, {signed: true, size: 160}),
      h("figcaption", {}, `A square of the picture's mean over each place, and what that takes from the score of ${net.names[best]}: blue takes, orange gives. Where it takes most, the score falls from ${last.scores[best].toFixed(2)} to ${(last.scores[best] - lost[most]).toFixed(2)}, the share from ${percent(last.shares[best])} to ${percent(shares[most])}. Its head is not linear after a mean over a map, so there is no class-activation map to show.`)));
  }

  /** Pictures whose vectors of the last hidden layer point the same way; computed here, a few each frame, and kept. */
  const vectors = new Map();
  async function neighbours(place) {
    const name = about.name, images = await pictures(about.data), mine = unit(last.maps[net.hidden].values), status = h("p", {class: "note", role: "status"});
    place.append(status);
    if (!vectors.has(name)) vectors.set(name, []);
    const known = vectors.get(name);
    while (known.length < images.length && about.name === name && place.isConnected) {
      const until = performance.now() + 12;
      while (known.length < images.length && performance.now() < until) {
        const {pixels, width, height} = images[known.length];
        known.push(unit(net.run(net.prepare(pixels, width, height)).maps()[net.hidden].values));
      }
      status.textContent = `${known.length} of ${images.length} pictures have been looked at.`;
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (known.length < images.length) return;
    const near = known.map((vector, i) => [vector.reduce((sum, value, j) => sum + value * mine[j], 0), i]).sort((a, b) => b[0] - a[0]).slice(0, 12);
    status.textContent = `Of ${images.length} pictures that come along, those whose vectors of the last hidden layer (${net.steps[net.hidden].name}, ${mine.length} numbers) point most nearly the same way; cosines below.`;
    place.append(h("div", {class: "samples"}, near.map(([cosine, i]) => h("figure", {class: "near"}, thumb(images[i].pixels, images[i].width, images[i].height, images[i].name, 56),
      h("figcaption", {}, `${net.names[images[i].label]} `, h("span", {class: "soft"}, cosine.toFixed(3)))))));
  }
  const unit = (values) => { const size = Math.hypot(...values) || 1; return values.map((value) => value / size); };

  function layers(place) {
    const all = last.maps.filter(({kind}) => !["pad", "copy", "replicate"].includes(kind)), shown = h("div");
    const pick = (i) => shown.replaceChildren(h("p", {class: "note"}, `${all[i].channels} × ${all[i].height}×${all[i].width}; blue above 0, orange below.`), maps(all[i]));
    place.append(h("div", {class: "controls"}, atlas.choice("Layer", all.map(({layer, kind}, i) => [i, `${layer} (${kind})`]), 0, pick)), shown);
    pick(0);
  }

  await take(about.name);
});
