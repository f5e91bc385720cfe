"use strict";
/* All variants by year and size. */
atlas.widget("landscape", (root, {networks}) => {
  const {h, format} = atlas;
  const host = h("div"), sizes = {params: ["parameters", 2], macs: ["multiply-adds", 3]};
  const draw = (key) => atlas.plot(host, {
    title: `All networks by year and ${sizes[key][0]}`, height: 380, wide: 1100,
    marks: [{name: "networks", points: networks.map((each, i) => [each[1] + ((i * 7919) % 13 - 6) / 22, each[sizes[key][1]], each[0], `network/${each[0]}.html`])}],
    x: {format: (year) => String(Math.round(year))}, y: {log: true, label: sizes[key][0], format: format.short},
  });
  root.replaceChildren(atlas.choice("Size", Object.entries(sizes).map(([key, [label]]) => [key, label]), "params", draw), host);
  draw("params");
});
