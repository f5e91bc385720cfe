r"""Others' code beside ours: random weights and statistics, the same images, float64, scores equal to rounding.

uv run --with efficientnet-pytorch --with pretrainedmodels --with pytorchcv --with keras --with tensorflow \
    benchmarks/authors.py
uv run benchmarks/authors.py timm 'pytorchcv/*resnet*'              # only these, of what is installed
uv run benchmarks/authors.py --checkouts ~/code ConvNeXt RepVGG     # authors' repositories in the folders ~/code/NAME
uv run benchmarks/authors.py --page-only

Packages hold the authors' code or a faithful port; a repository of the authors is imported from the folder that the
user names, and runs as any program of his does. Their network gets random weights and statistics; its tensors go into
ours by their names, as a user's file would (`names`), or, where the names are known of no table, layer by layer as they
run (`running order`). Each network is a process of its own. Results are kept in benchmarks/results/authors.json and
written to docs/authors.md; what is there already is not run again unless it is named.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "authors.json"
PAGE = ROOT / "docs" / "authors.md"
EQUAL = 1e-12           # largest difference, in parts of the largest score
SECONDS = 1800          # for one network
SEEN = 1e-6             # least difference between the scores of two images, in the same parts: else nothing is compared
SIDE = 128              # of images, where the network takes any
#   networks that take only certain images, or need larger ones
SIDES = {"vgg": 224, "alexnet": 224, "inception": 299, "fcn": 224, "cifar": 32, "svhn": 32}
PACKAGES = {"torchvision": "torchvision", "timm": "timm", "efficientnet_pytorch": "efficientnet-pytorch",
            "pretrained-models.pytorch": "pretrainedmodels", "pytorchcv": "pytorchcv", "keras": "keras"}


@dataclass(frozen=True)
class Case:
    """One network of theirs, and ours that is to be the same function."""

    source: str                 # package or repository
    name: str                   # there
    ours: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""              # of a repository: the module that is imported
    call: str = ""              # an expression in it
    bgr: bool = False           # theirs takes blue first; ours is turned round when it is loaded
    merge: str = ""             # a function in it that merges their network, as convatlas.fold does ours

    @property
    def id(self) -> str:
        """Source and name."""
        return f"{self.source}/{self.name}"


# -- what there is -----------------------------------------------------------------------------------------------------

def packages() -> Iterator[Case]:
    """Every network of a package that a table of names knows, and those of pytorchcv that are ours."""
    from convatlas.weights import tables

    for family, library in tables.every():
        if library in PACKAGES:
            for peer in tables.peers(family, library):
                yield Case(library, peer.name, peer.ours, peer.fields, peer.kwargs, bgr=peer.bgr)
    for theirs, (ours, fields) in _pytorchcv().items():
        yield Case("pytorchcv", theirs, ours, fields)


def _pytorchcv() -> dict[str, tuple[str, dict[str, Any]]]:
    """Pytorchcv's names → ours, with what makes them the same function."""
    cifar = {f"resnet{n}_cifar10": (f"resnet{n}_cifar", {"shortcut": "B"}) for n in (20, 56, 110, 1202)}
    first, third = {"stride_on": "1x1"}, {"stride_on": "3x3"}
    return cifar | {
        **{f"vgg{n}": (f"vgg{n}", {}) for n in (11, 13, 16, 19)},
        **{f"bn_vgg{n}b": (f"vgg{n}_bn", {}) for n in (11, 13, 16, 19)},
        **{f"resnet{n}": (f"resnet{n}", {}) for n in (18, 34)},
        **{f"resnet{n}": (f"resnet{n}", first) for n in (50, 101, 152)},
        **{f"resnet{n}b": (f"resnet{n}", third) for n in (50, 101, 152)},
        "resnet200b": ("resnet200", third),
        **{f"seresnet{n}b": (f"se_resnet{n}", third) for n in (50, 101, 152)},
        "seresnext50_32x4d": ("se_resnext50_32x4d", {}), "seresnext101_32x4d": ("se_resnext101_32x4d", {}),
        "senet154": ("senet154", {}),
        "resnext50_32x4d": ("resnext50_32x4d", {}), "resnext101_32x4d": ("resnext101_32x4d", {}),
        "resnext101_64x4d": ("resnext101_64x4d", {}), "resnext29_16x64d_cifar10": ("resnext29_16x64d_cifar", {}),
        **{f"densenet{n}": (f"densenet{n}", {}) for n in (121, 161, 169, 201)},
        **{f"wrn{n}_cifar10": (f"wide_resnet{n}_cifar", {}) for n in ("16_10", "28_10", "40_8")},
        "wrn50_2": ("wide_resnet50_2", {}),
        "mobilenet_w1": ("mobilenet_v1", {"norm_eps": 1e-5}), "mobilenet_w3d4": ("mobilenet_v1_075", {"norm_eps": 1e-5}),
        "mobilenet_wd2": ("mobilenet_v1_050", {"norm_eps": 1e-5}),
        "mobilenet_wd4": ("mobilenet_v1_025", {"norm_eps": 1e-5}),
        "mobilenetv2_w1": ("mobilenet_v2", {"norm_eps": 1e-5}),
        "mobilenetv2b_w1": ("mobilenet_v2", {"norm_eps": 1e-5}),
        "mobilenetv3_large_w1": ("mobilenet_v3_large", {"norm_eps": 1e-5}),
        "mobilenetv3_small_w1": ("mobilenet_v3_small", {"norm_eps": 1e-5}),
        **{f"efficientnet_b{n}": (f"efficientnet_b{n}", {"norm_eps": 1e-5}) for n in range(8)},
        **{f"efficientnet_b{n}b": (f"efficientnet_b{n}", {"padding": "same"}) for n in range(8)},
        "bninception": ("bn_inception", {"norm_eps": 1e-5}),
        "inceptionv3": ("inception_v3", {"aux": False}), "inceptionv4": ("inception_v4", {}),
        "inceptionresnetv1": ("inception_resnet_v1", {}), "inceptionresnetv2": ("inception_resnet_v2", {}),
        "nin_cifar10": ("nin_cifar10", {}), "nin_cifar100": ("nin_cifar100", {}),
    }


def repositories() -> Iterator[Case]:
    """Authors' repositories, and the most used ports, that a user may have checked out."""
    for size in ("tiny", "small", "base", "large", "xlarge"):
        yield Case("ConvNeXt", f"convnext_{size}", f"convnext_{size}", file="models/convnext.py",
                   call=f"convnext_{size}()")
    for size in ("small", "base", "large"):
        yield Case("ConvNeXt", f"convnext_isotropic_{size}", f"convnext_isotropic_{size}",
                   file="models/convnext_isotropic.py", call=f"convnext_isotropic_{size}()")
    for size in ("A0", "A1", "A2", "B0", "B1", "B1g2", "B1g4", "B2", "B2g4", "B3", "B3g4"):
        yield Case("RepVGG", size, f"repvgg_{size.lower()}", file="repvgg.py", call=f"create_RepVGG_{size}()")
    for size in ("A0", "B1g4"):
        yield Case("RepVGG", f"{size}-deploy", f"repvgg_{size.lower()}", file="repvgg.py",
                   call=f"create_RepVGG_{size}()", merge="repvgg_model_convert")
    for size in ("31B", "31L", "XL"):
        yield Case("RepLKNet-pytorch", f"RepLKNet{'-' if size == 'XL' else ''}{size}",
                   f"replknet_{size.lower()}", file="replknet.py", call=f"create_RepLKNet{size}()")
    for n in (20, 32, 44, 56, 110, 1202):
        yield Case("pytorch_resnet_cifar10", f"resnet{n}", f"resnet{n}_cifar", {"shortcut": "A_around"},
                   file="resnet.py", call=f"resnet{n}()")
    for n in (20, 32, 44, 56):
        yield Case("pytorch-cifar-models", f"cifar10_resnet{n}", f"resnet{n}_cifar", {"shortcut": "B"},
                   file="pytorch_cifar_models/resnet.py", call=f"cifar10_resnet{n}()")
    for depth, growth in ((40, 12), (100, 12), (100, 24)):
        yield Case("densenet-pytorch", f"DenseNet-{depth}-{growth}", f"densenet_{depth}_{growth}_cifar",
                   {"stem_channels": 2 * growth}, file="densenet.py",
                   call=f"DenseNet3({depth}, 10, {growth}, reduction=1.0, bottleneck=False)")
    for depth, growth in ((100, 12), (250, 24), (190, 40)):
        yield Case("densenet-pytorch", f"DenseNet-BC-{depth}-{growth}", f"densenet_bc_{depth}_{growth}_cifar",
                   file="densenet.py", call=f"DenseNet3({depth}, 10, {growth}, reduction=0.5, bottleneck=True)")
    for depth, width in ((16, 4), (16, 8), (28, 10), (40, 4)):
        yield Case("WideResNet-pytorch", f"WRN-{depth}-{width}", f"wide_resnet{depth}_{width}_cifar",
                   file="wideresnet.py", call=f"WideResNet({depth}, 10, {width})")
    for n in (18, 34, 50, 101, 152):
        yield Case("pytorch-cifar", f"ResNet{n}", f"resnet{n}", {"stem": "cifar"}, file="models/resnet.py",
                   call=f"ResNet{n}()")
        yield Case("pytorch-cifar100", f"resnet{n}", f"resnet{n}", {"stem": "cifar"}, file="models/resnet.py",
                   call=f"resnet{n}()")
    for cardinality in (8, 16):
        yield Case("ResNeXt.pytorch", f"resnext29_{cardinality}x64d", f"resnext29_{cardinality}x64d_cifar",
                   file="models/model.py", call=f"CifarResNeXt({cardinality}, 29, 10, 64)")
    for width in (1.0, 0.75, 0.5, 0.35):
        ours = "mobilenet_v2" + ("" if width == 1 else f"_{round(100 * width):03d}")
        yield Case("mobilenetv2.pytorch", f"mobilenetv2_{width}", ours, {"norm_eps": 1e-5},
                   file="models/imagenet/mobilenetv2.py", call=f"MobileNetV2(width_mult={width})")


# -- one comparison, in a process of its own ---------------------------------------------------------------------------


def compare(case: Case, folder: str) -> dict[str, Any]:
    """{difference, scores, paired}: the largest difference in parts of the largest score, and how tensors were paired.
    """
    import torch

    import convatlas

    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    if case.source == "keras":
        return _compare_keras(case)
    side, place = _side(case), Path(folder)
    theirs = _randomized(_built(case, place), side)
    if case.merge:
        theirs = vars(_imported(place, case.file))[case.merge](theirs)
    theirs = theirs.double()        # numbers that float32 holds, as files do
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    paired = "names"
    with torch.inference_mode():
        expected = theirs(x)
        expected = expected if isinstance(expected, torch.Tensor) else expected[0]
        if case.source == "pytorchcv":
            paired, mine = "running order", convatlas.create_model(case.ours, num_classes=expected.shape[1], **case.fields)
            _transplant(theirs, mine.double().eval(), x)
        else:
            mine = convatlas.create_model(case.ours, weights=theirs.state_dict(), **case.fields)
        return _difference(mine.double().eval()(x), expected) | {"paired": paired, "side": side}


def _transplant(theirs: Any, mine: Any, x: Any) -> None:
    """Give each of our layers the tensors of the first of theirs, in the order in which they run, that is left and has
    its shapes; a shortcut, which may run first or last, those of a shortcut.
    """
    from name_tables import order, shapes, sizes

    left = order(theirs, x)
    for name, tensors in order(mine, x):
        same = [i for i, (_, other) in enumerate(left) if shapes(other) == shapes(tensors)]
        same = same or [i for i, (_, other) in enumerate(left) if sizes(other) == sizes(tensors)]
        chosen = next((i for i in same if ("identity" in left[i][0]) == ("shortcut" in name)), same[0])
        for (_, ours), (_, other) in zip(tensors, left.pop(chosen)[1], strict=True):
            ours.copy_(other.reshape(ours.shape))
    assert not left, f"unused: {[name for name, _ in left]}"


def _difference(scores: Any, expected: Any) -> dict[str, Any]:
    """How far apart, and how large what is compared is: images must differ, or nothing is seen."""
    largest = expected.abs().max().item()
    return {"difference": (scores - expected).abs().max().item() / largest, "largest": largest,
            "between images": (expected[0] - expected[1]).abs().max().item() / largest}


def _side(case: Case) -> int:
    import convatlas

    wanted = next((side for word, side in SIDES.items() if word in case.ours), SIDE)
    if case.fields.get("stem") == "cifar":
        return 32
    if case.source in ("pytorchcv", "pretrained-models.pytorch"):       # which average over a map of one size
        return max(convatlas.create_model(case.ours).image_size)
    return wanted if not case.ours.startswith("convnext_isotropic") else convatlas.create_model(case.ours).image_size[0]


def _built(case: Case, folder: Path) -> Any:
    """Their network."""
    name, kwargs = case.name, dict(case.kwargs)
    if case.file:
        return eval(case.call, vars(_imported(folder, case.file)))
    if case.source == "timm":
        import timm

        return timm.create_model(name, pretrained=False, **kwargs)
    if case.source == "torchvision":
        import torchvision

        return torchvision.models.get_model(name, weights=None, **kwargs)
    if case.source == "efficientnet_pytorch":
        from efficientnet_pytorch import EfficientNet

        return EfficientNet.from_name(name, image_size=SIDE)      # its padding is that of one size
    if case.source == "pytorchcv":
        from pytorchcv.model_provider import get_model

        return get_model(name, pretrained=False)
    module = importlib.import_module("pretrainedmodels.models")
    return vars(module)[name](num_classes=1000, pretrained=None)


def _imported(folder: Path, file: str) -> Any:
    """A module of a repository, with its folder and that of the file in the way of imports."""
    sys.path[:0] = [str(folder), str((folder / file).parent)]
    return importlib.import_module(".".join(Path(file).with_suffix("").parts))


def _randomized(model: Any, side: int) -> Any:
    """Every parameter that begins as a constant (norms, layer scales, biases) at random, and statistics near those of
    random images: with others a deep network forgets its input, and nothing would be compared.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.numel() > 1 and tensor.std() == 0:
                nn.init.normal_(tensor, std=0.1) if tensor.abs().max() == 0 else nn.init.uniform_(tensor, 0.5, 1.5)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            model.train()(torch.randn(4, 3, side, side))
        for norm in norms:
            norm.running_mean += norm.running_var.sqrt() * torch.randn_like(norm.running_var) * 0.1
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
    return model.eval()


def _compare_keras(case: Case) -> dict[str, Any]:
    """Keras's network, written by `model.save` and read as any file; images lie there with their channels last."""
    import numpy as np
    import torch

    import convatlas

    side = _side(case)
    with TemporaryDirectory() as folder:
        code = (f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import authors; "
                f"authors.write_keras({case.name!r}, {side}, {folder!r})")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        mine = convatlas.create_model(case.ours, weights=Path(folder) / f"{case.name}.h5", **case.fields)
        pictures, expected = (torch.from_numpy(np.load(Path(folder) / f"{name}.npy")) for name in ("images", "scores"))
    with torch.inference_mode():
        pictures = pictures.permute(0, 3, 1, 2)
        scores = mine.double().eval()((pictures.flip(1) if case.bgr else pictures).contiguous())
        return _difference(scores, expected) | {"paired": "names", "side": side}


def write_keras(name: str, side: int, folder: str) -> None:
    """`name`.h5, images.npy as they reach its first convolution, and scores.npy.

    On TensorFlow, for on its other backends Keras normalises in float32; without torch, whose LLVM and TensorFlow's do
    not live in one process.
    """
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import keras
    import numpy as np

    keras.config.set_floatx("float64")
    kind, _, alpha = name.partition("-")
    kwargs: dict[str, Any] = {"weights": None, "input_shape": (side, side, 3), "classifier_activation": None}
    kwargs |= {"alpha": float(alpha)} if alpha else {}
    kwargs |= {"include_preprocessing": False} if kind.startswith(("ConvNeXt", "MobileNetV3")) else {}
    model, draw = getattr(keras.applications, kind)(**kwargs), np.random.default_rng(0)
    for weight in model.weights:
        value = np.asarray(weight)
        if not np.std(value):       # a constant: norms, biases, layer scales
            value = draw.uniform(0.5, 1.5, value.shape) if value.any() else draw.normal(0, 0.1, value.shape)
        weight.assign(value.astype("f4"))
    images = draw.standard_normal((2, side, side, 3))
    np.save(Path(folder) / "scores.npy", np.asarray(model(images, training=False)))
    for layer in model.layers:      # EfficientNet prepares its pictures itself
        if layer.name.startswith(("rescaling", "normalization")):
            images = np.asarray(layer(images))
    np.save(Path(folder) / "images.npy", images)
    model.save(Path(folder) / f"{name}.h5")


# -- all of them -------------------------------------------------------------------------------------------------------


def installed(case: Case, checkouts: Path | None) -> bool:
    """True if their code is here."""
    if case.file:
        return checkouts is not None and (checkouts / case.source / case.file).is_file()
    names = [PACKAGES[case.source].replace("-", "_"), *(["tensorflow"] if case.source == "keras" else [])]
    return all(importlib.util.find_spec(name) is not None for name in names)


def of(case: Case, checkouts: Path | None) -> str:
    """The version of the package, or the commit of the repository."""
    if not case.file:
        return f"{PACKAGES[case.source]} {version(PACKAGES[case.source])}"
    assert checkouts is not None
    done = subprocess.run(["git", "-C", str(checkouts / case.source), "rev-parse", "--short=10", "HEAD"],
                          capture_output=True, text=True, check=False)
    return f"{case.source} at {done.stdout.strip() or 'no commit'}"


def run(case: Case, checkouts: Path | None) -> dict[str, Any]:
    """The comparison in a process of its own."""
    folder = "" if checkouts is None else str(checkouts / case.source)
    code = (f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import authors, json; "
            f"print('RESULT', json.dumps(authors.compare(next(c for c in authors.cases() if c.id == {case.id!r}), "
            f"{folder!r})))")
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished in {SECONDS} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if lines:
        result: dict[str, Any] = json.loads(lines[0][7:])
        return result
    return {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300]}


def cases() -> list[Case]:
    """Everything that can be compared."""
    return [*packages(), *repositories()]


def main(given: Namespace) -> None:
    """Run what is named, or what is missing, and write the page."""
    known: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    every = cases()
    if not given.page_only:
        chosen = [case for case in every if installed(case, given.checkouts) and (
            any(fnmatchcase(word, each) for word in (case.id, case.source) for each in given.patterns)
            if given.patterns else case.id not in known)]
        for number, case in enumerate(chosen, start=1):
            print(f"{number}/{len(chosen)} {case.id}", end=" ", flush=True)
            known[case.id] = {"ours": case.ours, "fields": dict(case.fields), "of": of(case, given.checkouts),
                              **run(case, given.checkouts)}
            print(known[case.id].get("failed") or f"{known[case.id]['difference']:.1e}", flush=True)
            RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(known, every), encoding="utf-8")


def equal(row: Mapping[str, Any]) -> bool:
    """True if the scores agree, and say something."""
    return bool(row.get("difference", 1) <= EQUAL and row["between images"] >= SEEN)


def page(known: Mapping[str, Mapping[str, Any]], every: list[Case]) -> str:
    """docs/authors.md."""
    ran = {case.id: known[case.id] for case in every if case.id in known}
    good = [row for row in ran.values() if equal(row)]
    worst = max((row["difference"] for row in good), default=0.0)
    sources: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for key, row in ran.items():
        sources.setdefault(row["of"], []).append((key.partition("/")[2], row))
    lines = [
        "# Others' code beside ours", "",
        f"Written by `benchmarks/authors.py` on {date.today().isoformat()}. Their network and ours with the same random",
        "weights and statistics, on the same two random images, in float64 on the CPU: the largest difference of any",
        f"score, in parts of the largest. {len(good)} of {len(ran)} networks are equal to {EQUAL:.0e} "
        f"(the furthest {worst:.1e}).",
        "Tensors go over by their names, as those of a file do; where no table knows the names, layer by layer in the",
        "order in which both run, which shows that the networks are the same function.", "",
        "| their code | networks | equal | furthest | tensors paired by |", "|---|--:|--:|--:|---|"]
    for source, rows in sorted(sources.items()):
        same = [row for _, row in rows if equal(row)]
        ways = " and ".join(sorted({row["paired"] for _, row in rows if "paired" in row}))
        lines.append(f"| {source} | {len(rows)} | {len(same)} | {max((r['difference'] for r in same), default=0):.1e} "
                     f"| {ways} |")
    odd = [(source, name, row) for source, rows in sorted(sources.items()) for name, row in rows
           if not equal(row)]
    if odd:
        lines += ["", "## Not equal, or not run", ""]
        lines += [f"- {source}, `{name}` as `{row['ours']}`: " + (row.get("failed") or
                  f"{row['difference']:.1e} of the largest score, the images {row['between images']:.1e} apart") for source, name, row in odd]
    lines += ["", "## Each network", "", "| their code | network | ours | built with | side | difference |",
              "|---|---|---|---|--:|--:|"]
    for source, rows in sorted(sources.items()):
        lines += [f"| {source} | `{name}` | `{row['ours']}` | "
                  f"{', '.join(f'{key}={value}' for key, value in row['fields'].items())} | {row['side']} | "
                  f"{row['difference']:.1e} |" for name, row in rows if "difference" in row]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", help="sources, or SOURCE/NAME, with * and ?")
    parser.add_argument("--checkouts", type=Path, help="the folder in which authors' repositories lie")
    parser.add_argument("--page-only", action="store_true")
    main(parser.parse_args())
