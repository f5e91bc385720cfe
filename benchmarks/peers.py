"""Which networks of torchvision and timm ours are compared with, which are left out and why: docs/parity.md.

uv run python benchmarks/peers.py

The comparisons themselves are tests: uv run pytest tests/arch -m "slow or not slow"
"""

import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "parity.md"

FAMILIES = {        # a name that no test compares → why; the first pattern that fits
    "resnetv2_*_bit": "BiT: group normalisation and weight standardisation, another paper",
    "legacy_seresnet18": "has a ReLU of its own before the gate",
    "legacy_seresnet34": "has a ReLU of its own before the gate", "legacy_seresnext26*": "depth not in the paper",
    "seresnet18": "rounds squeezed channels up to 8; compared with that turned off",
    "seresnet34": "rounds squeezed channels up to 8; compared with that turned off",
    "seresnext101_32x8d": "width not in the paper", "seresnext101_64x4d": "width not in the paper",
    "vgg*": "compared with thin fully connected layers in tests/arch/test_vgg.py",
    "alexnet": "compared as `alexnet_owt` in tests/arch/test_alexnet.py",
    "resnet*c": "deep stem, not in the paper",
    "resnet*d": "deep stem and average-pooled shortcuts, not in the paper",
    "resnet*s": "deep stem, not in the paper",
    "resnet*t": "tiered deep stem, not in the paper",
    "resnetrs*": "ResNet-RS, another paper",
    "resnet*_gn": "group normalisation",
    "resnet10t": "depth not in the paper",
    "resnet14*": "depth not in the paper",
    "resnet26*": "depth not in the paper",
    "resnet61*": "depth not in the paper",
    "resnet32ts": "another design",
    "resnet33ts": "another design",
    "resnet51q": "another design",
    "resnet61q": "another design",
    "resnetaa*": "anti-aliased, another paper",
    "resnetblur*": "anti-aliased, another paper",
    "resnet50_mlp": "CLIP's variant",
    "resnet50_clip*": "CLIP's variant",
    "resnet*_clip*": "CLIP's variant",
    "resnet*d_*": "deep stem",
    "resnetv2_*d*": "deep stem",
    "resnetv2_*x*_bit*": "BiT: group normalisation and weight standardisation, another paper",
    "resnetv2_*x*": "BiT, another paper",
    "resnext26*": "depth not in the paper",
    "resnext50d*": "deep stem",
    "resnext101_32x16d": "width not in the paper",
    "resnext101_32x32d": "width not in the paper",
    "seresnet*d*": "deep stem",
    "seresnet*t*": "deep stem",
    "seresnetaa*": "anti-aliased",
    "seresnext*d*": "deep stem or anti-aliased",
    "seresnext26*": "depth not in the paper",
    "densenetblur*": "anti-aliased",
    "mobilenetv1_1*h": "hybrid stem, not in the paper",
    "mobilenetv1_125": "reachable with width=1.25",
    "mobilenetv2_110d": "deeper, another paper",
    "mobilenetv2_120d": "deeper, another paper",
    "mobilenetv3_rw": "another head",
    "mobilenetv3_large_150d": "not in the paper",
    "mobilenetv3_small_050": "reachable with width=0.5",
    "mobilenetv3*": "width not registered",
    "efficientnet_b*_pruned": "pruned",
    "efficientnet_b?_g*": "grouped, not in the paper",
    "efficientnet_b1_pruned": "pruned",
    "efficientnet_b8": "another paper (AdvProp)",
    "tf_efficientnet_b8": "another paper (AdvProp)",
    "tf_efficientnet_l2": "another paper (Noisy Student)",
    "efficientnet_l2": "another paper (Noisy Student)",
    "efficientnet_h*": "not in the paper",
    "efficientnet_b3_gn": "group normalisation",
    "efficientnet_b0_gn": "group normalisation",
    "efficientnet_b*": "not in the paper",
    "inception_next*": "another paper",
    "convnext_*_mlp*": "not in the paper",
    "convnextv2*": "another paper",
    "convnext_*": "size or design not in the paper",
    "repvgg_d2se": "another paper (RepVGGplus)",
}
PATTERNS = ("alexnet", "vgg*", "googlenet", "inception_v3", "inception_v4", "inception_resnet_v2", "resnet*",
            "resnext*", "wide_resnet*", "seresnet*", "seresnext*", "legacy_se*", "senet*", "densenet*", "mobilenet_v2",
            "mobilenet_v3*", "mobilenetv1*", "mobilenetv2*", "mobilenetv3*", "tf_mobilenetv3*", "efficientnet_b*",
            "tf_efficientnet_b?", "repvgg*", "convnext_*")


def main() -> None:
    """Write the page from the lists that the tests run."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "arch")]
    import timm
    import torchvision

    tests = sorted((ROOT / "tests" / "arch").glob("test_*.py"))
    rows = [(path.name, *_plain(row)) for path in tests for row in vars(import_module(path.stem)).get("PEERS", ())]
    names = {"timm": timm.list_models(), "torchvision": torchvision.models.list_models(torchvision.models)}
    PAGE.write_text(_page(rows, names, {"timm": timm.__version__, "torchvision": torchvision.__version__}),
                    encoding="utf-8")


def _plain(row: Any) -> tuple[Any, ...]:
    """A row, or what pytest.param holds of it."""
    return tuple(getattr(row, "values", row))


def _words(options: Mapping[str, Any]) -> str:
    return "".join(f"{key}={value} " for key, value in options.items())


def _page(rows: list[tuple[Any, ...]], names: Mapping[str, list[str]], versions: Mapping[str, str]) -> str:
    lines = ["# Equal to whom", "",
             "Each network below has the tensors of one of ours under other names. A test makes its weights and "
             "statistics random, copies", "them into ours, and expects the same scores in float64 to 1e-9 of "
             "the largest: `uv run pytest tests/arch` for the small", 'ones, `-m "slow or not slow"` for all.', "",
             "Written by `benchmarks/peers.py` from the lists in the tests, "
             f"{', '.join(map(' '.join, versions.items()))}.", "",
             "| library | its network | ours | with | test |", "|---|---|---|---|---|"]
    for test, library, theirs, ours, fields, kwargs in rows:
        lines.append(f"| {library} | `{theirs}` {_words(kwargs)}| `{ours}` | {_words(fields)}| `{test}` |")
    lines += ["", "## Left out", "", "| library | network | why |", "|---|---|---|"]
    done = {(row[1], row[2]) for row in rows}
    for library, listed in names.items():
        for name in listed:
            ours = any(fnmatchcase(name, pattern) for pattern in PATTERNS)
            if ours and (library, name) not in done:
                whys = (why for pattern, why in FAMILIES.items() if fnmatchcase(name, pattern))
                why = next(whys, "none of the lecture's networks")
                lines.append(f"| {library} | `{name}` | {why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
