"""Networks that run in the page: those that come along and those of the user's runs, for the WebAssembly kernels."""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..deploy.native import stored, wasm
from ..errors import ConvatlasError
from ..files import along
from .build import Asset, Page, Wanted, given
from .runs import slugs
from .told import Speed, in_page

ENGINE = Path(wasm.__file__).parents[1] / "web" / "convatlas.js"
SCRIPTS = ("convatlas", "engine", "networks")       # of a page that runs networks
FASHION = 40                # pictures of each class, for a look and for the neighbours
DATA = ("digits", "fashion-small", "nuclei")        # of which the site has pictures


def networks(wanted: Wanted) -> Iterator[Page | Asset]:
    """The page on which networks run, their data, and the engine; where there is none here, a page that says so."""
    reason = wasm.missing()
    found: list[dict[str, Any]] = []
    took: dict[str, Speed | None] = {}
    if reason is None:
        wanted.tell("networks that run in the page" + ("" if wasm.compiled() else ", whose kernels are compiled as "
                    "WebAssembly first: about a minute and a half, once on this machine"))
        yield given("engine", base64.b64encode(wasm.module()).decode())
        yield given("fashion", fashion())
        yield Asset("script/convatlas.js", ENGINE.read_text(encoding="utf-8"))
        named = {name: (path, name.partition(".")[2]) for name, path in along().items()}
        named |= {name: (path, "") for name, path in zip(slugs(wanted.weights), wanted.weights, strict=True)}
        for name, (path, known) in named.items():
            data, head = network(path)
            yield given(f"{name}.net", data)
            pictures = next((each for each in DATA if known.startswith(each)), "")
            found.append({"name": name, "data": pictures, "own": not known, **head})
            took[name] = in_page(name)
        found.sort(key=lambda each: (not each["own"], each["name"] != "lenet5.digits", each["data"], each["name"]))
    yield Page("try.html", "try.html.j2", "Networks that run here", {"networks": found, "reason": reason, "took": took},
               "Draw a digit or bring a picture: networks answer in the page, and show what is inside them.",
               SCRIPTS if found else (), ("chapters", "running"), nav="Try", inline={"networks": found})


def network(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network as the page runs it, and what the page says of it. Raises ConvatlasError for what has no plan."""
    from ..deploy.bundle import pictures_of  # imports torch
    from ..deploy.bundle import written as conventions  # the same
    from ..deploy.graph.rewrite import rewrite  # the same
    from ..deploy.native.plan import plan  # the same
    from ..net.segmenter import Segmenter  # the same
    from ..weights.checkpoints import load  # the same

    net = load(source).eval()
    given = pictures_of(net)
    if given["fit"] != "none":
        raise ConvatlasError(f"{str(source)!r} cannot run in the page: its pictures are prepared by what was measured "
                             f"on others (preprocess.fit = {given['fit']})")
    steps, weights = stored.plain(plan(rewrite(net), (net.in_chans, *net.image_size)), half=True)
    about = {"input": given, "segments": isinstance(net, Segmenter),
             **{name: value for name, value in conventions(net.card, given["fit"]).items()
                if name in ("model", "classes", "loss")}}
    head = {"model": net.name, "classes": list(net.card.classes), "channels": net.in_chans,
            "size": list(net.image_size), "parameters": sum(each.numel() for each in net.parameters()),
            "bytes": len(weights), "segments": about["segments"]}
    return {"about": json.dumps(about), "plan": json.dumps(steps), "weights": base64.b64encode(weights).decode(),
            **last_layers(steps["steps"])}, head


def last_layers(steps: list[Mapping[str, Any]]) -> dict[str, int | None]:
    """Numbers of steps: `hidden`, the last layer before the scores; `pooled`, the map whose mean a linear layer
    `linear` scores, where that is the whole head: Grad-CAM is then the class-activation map.
    """
    by = {json.dumps(step["result"]): i for i, step in enumerate(steps)}
    last = max((i for i, step in enumerate(steps) if step["kind"] in ("conv", "rbf")), default=0)
    # a linear layer may see a map otherwise, as one dimension: what was written before it
    hidden = by.get(json.dumps(steps[last]["source"]), last - 1)
    step = steps[hidden] if hidden >= 0 else steps[0]
    height, width = step["source"][1:3]
    pools = step["kind"] == "mean" or (step["kind"] == "avgpool" and step["kernel"] == [height, width])
    linear = (pools and height * width > 1 and steps[last]["kind"] == "conv" and steps[last]["flat"] is None
              and step["activation"] == "none" and steps[last]["activation"] == "none")
    return {"hidden": hidden if hidden >= 0 else None, "linear": last if linear else None,
            "pooled": by.get(json.dumps(step["source"])) if linear else None}


def fashion() -> dict[str, Any]:
    """Pictures of Fashion-MNIST that come along, the first of each class in the test part."""
    from ..data.embedded import read_fashion  # imports torch

    part = read_fashion().val
    assert part is not None
    labels = part.labels.numpy()
    taken = np.sort(np.concatenate([np.flatnonzero(labels == label)[:FASHION] for label in np.unique(labels)]))
    pixels = np.stack([part.read(int(i)).numpy() for i in taken])
    return {"pixels": base64.b64encode(pixels.tobytes()).decode(), "labels": labels[taken].tolist()}
