"""Write docs/recipes.md from the recipes themselves.

uv run python benchmarks/recipes_page.py
"""

from pathlib import Path

from convatlas import list_models
from convatlas.net import registry
from convatlas.recipes import about, names, recipe
from convatlas.run import Run

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"


def page() -> str:
    """The page, whole."""
    lines = [
        "# How each paper trained its network", "",
        "Written by `benchmarks/recipes_page.py` from `src/convatlas/recipes/`. `convatlas train NETWORK DATA` follows "
        "the network's own", "recipe on its paper's data (on sets known by name that are like it, too), on other data "
        "[`modern`](#modern) or, with `--weights`,", "[`finetune`](#finetune), made to fit the data as "
        "[training.md](training.md) says. `--recipe NAME` takes that recipe as it is; any field is", "changed by a "
        "flag, `--set optim.lr=0.05`, or a YAML file (`--config`); `convatlas recipe show NAME` prints one.", "",
        "| recipe | optimiser | rate | schedule | weight decay | batch | epochs | normalisation | augmentation | "
        "besides |", "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(name, recipe(name)) for name in names()), "",
    ]
    for name in names():
        title, _, text = about(name).partition("\n")
        trained = [network for network in list_models() if registry.VARIANTS[network].recipe == name]
        lines += [f"## {name}", "", title, "", text.strip(), "",
                  "Networks: " + (", ".join(f"`{network}`" for network in trained)
                                  or f"none by itself; `--recipe {name}`") + ".", ""]
    return "\n".join(lines)


def _row(name: str, run: Run) -> str:
    optim = run.optim.name + (" (Nesterov)" if run.optim.nesterov else "") + f" {run.optim.momentum:g}"
    cells = (f"[{name}](#{name})", optim, f"{run.optim.lr:g}", _schedule(run), f"{run.optim.weight_decay:g}",
             str(run.data.batch_size), str(run.train.epochs), _normalization(run), _augmentation(run), _besides(run))
    return "| " + " | ".join(cells) + " |"


def _schedule(run: Run) -> str:
    s = run.schedule
    told = {
        "steps": ", ".join(f"×{factor:g} from {epoch:g}" for epoch, factor in s.steps),
        "exponential": f"×{s.factor:g} every {s.every:.3g}",
        "plateau": f"×{s.factor:g} on plateau, {s.reductions} times",
        "cosine": "cosine" + (f" to {run.optim.lr * s.final:.3g}" if s.final else ""),
    }.get(s.name, s.name)
    return told + (f"; {s.warmup} warm-up {s.warmup_epochs:g}" if s.warmup_epochs else "")


def _normalization(run: Run) -> str:
    p = run.preprocess
    if p.fit != "none":
        return {"channel": "mean and deviation of the data", "pixel_mean": "mean of each pixel of the data",
                "gcn": "contrast", "zca": "contrast, ZCA"}[p.fit]
    if p.mean is not None and p.std is not None and len(p.mean) == 1:
        return f"{-p.mean[0] / p.std[0]:.4g} to {(1 - p.mean[0]) / p.std[0]:.4g}"
    return "ImageNet's mean and deviation" if p.std is None else "mean colour"


def _augmentation(run: Run) -> str:
    a = run.augment
    told = (
        (f"random crop, padded by {a.padding} ({a.padding_mode})" if a.padding else "random crop") if a.crop == "random"
        else "",
        f"short side {a.short_side[0]} to {a.short_side[1]}" if a.short_side else "",
        f"crop of {a.scale[0]:.0%} to {a.scale[1]:.0%} of the area" if a.crop == "resized" else "",
        "flip" if a.flip else "",
        f"rotation {a.affine[0]:g}°, shift {a.affine[1]:.0%}" if any(a.affine) else "",
        f"elastic {a.elastic:g} px" if a.elastic else "",
        "jitter" if any(a.jitter) else "",
        f"colour noise {a.pca_colour:g}" if a.pca_colour else "",
        "" if a.policy == "none" else a.policy if a.policy != "randaugment_inc" else
        f"RandAugment, increasing: {a.policy_ops} × {a.policy_magnitude} ± {a.policy_std:g} of 10",
        f"mixup {a.mixup:g}" if a.mixup else "",
        f"cutmix {a.cutmix:g}" if a.cutmix else "",
        f"erase {a.erase:g}{' to noise' if a.erase_fill == 'noise' else ''}" if a.erase else "",
    )
    return ", ".join(filter(None, told)) or "none"


def _besides(run: Run) -> str:
    told = (
        f"loss {run.loss.name}" if run.loss.name != "cross_entropy" else "",
        f"label smoothing {run.loss.label_smoothing:g}" if run.loss.label_smoothing else "",
        f"{run.data.sampling} sampling" if run.data.sampling != "all" else "",
        f"average of the weights {run.train.ema:g}" if run.train.ema else "",
        f"gradient norm at most {run.optim.clip_grad:g}" if run.optim.clip_grad else "",
        f"{run.sparse.sparsity:.0%} of the weights zero" if run.sparse.sparsity else "",
        f"rate ×{run.optim.layer_decay:g} from stage to stage downwards" if run.optim.layer_decay != 1 else "",
        "; ".join(f"`{g.names}`: rate ×{g.lr:g}, decay ×{g.weight_decay:g}" for g in run.optim.groups),
        "biases and norms without decay" if not run.optim.decay_bias else "",
        ", ".join(f"{field} = {value}" for field, value in run.model.fields.items()),
    )
    return "; ".join(filter(None, told))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(names())} recipes")
