"""Small files of every kind that convatlas writes, packed into one archive for tests/test_old_files.py.

    cd CHECKOUT-OF-THE-OLD-VERSION; uv run python .../tests/old/make.py .../tests/old/VERSION-DATE.tar.xz

It is run with the code of the version whose files are wanted, once; an archive never changes afterwards. Paths in the
files are relative to the archive's root, so they hold wherever it is unpacked and entered. `expected.json` has what
that version answered.
"""

import json
import os
import shutil
import signal
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

import convatlas
from convatlas.deploy import deploy, optimize
from convatlas.run import Augment, Data, Loss, Model, Optim, Preprocess, Run, Sparse, Train
from convatlas.segment.run import segment

WHEN = 1_790_000_000        # seconds: the files' time of change, part of what shards and indexes know them by
GRAY = {"num_classes": 3, "in_chans": 1}
DENSE = Model(name="densenet_40_12_cifar", fields={"layers": 1, "growth": 4, "stem_channels": 4,
                                                   "image_size": 8, **GRAY})
PICTURES = Data(source="pictures", batch_size=4, val_fraction=0.25)


def pictures() -> None:
    """pictures/<class>/<number>.png, 16×16, of digits 0 to 2; pairs/images and pairs/masks, 32×32."""
    with np.load(Path(convatlas.__file__).parent / "data" / "digits" / "digits.npz") as found:
        images, labels = found["images"] * 15, found["labels"]
    for label, name in enumerate(("nought", "one", "two")):
        for number in np.flatnonzero(labels == label)[:8]:
            path = Path("pictures") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.squeeze(images[number])).resize((16, 16)).save(path)
            os.utime(path, (WHEN, WHEN))
    for kind in ("images", "masks"):
        (Path("pairs") / kind).mkdir(parents=True)
    for number, (top, left) in enumerate([(4, 5), (10, 2), (16, 14), (7, 17), (12, 9), (3, 12)]):
        mask = np.zeros((32, 32), np.uint8)
        mask[top:top + 12, left:left + 10] = 255
        noise = np.random.RandomState(number).randint(0, 60, mask.shape)
        Image.fromarray(mask).save(f"pairs/masks/{number}.png")
        Image.fromarray((mask // 2 + noise).astype(np.uint8)).save(f"pairs/images/{number}.png")


class Stopping:
    """A Watch that presses Ctrl-C after the first epoch: the run stops after a step of the second, with a checkpoint of
    it.
    """

    def start(self, run, folder, first_epoch, steps): ...
    def step(self, epoch, step, images, loss, accuracy, images_per_second): ...
    def validating(self, done, steps): ...
    def tell(self, text): ...
    def close(self): ...

    def epoch(self, row):
        os.kill(os.getpid(), signal.SIGINT)


def runs() -> None:
    """runs/: whole ones, and interrupted ones to go on with."""
    def train(name: str, run: Run, stop: bool = False) -> None:
        run = run.model_copy(
            update={"train": run.train.model_copy(update={"device": "cpu", "epochs": 2 if stop else 1})})
        trained = convatlas.train(run, out=Path("runs") / name, watch=Stopping() if stop else None)
        assert trained.outcome.interrupted == stop
        shutil.rmtree(Path("runs") / name / "tb")

    lenet = Run(model=Model(name="lenet1", fields=GRAY), data=PICTURES)
    train("lenet", lenet)
    train("momentum", lenet, stop=True)
    train("levenberg", lenet.model_copy(update={"optim": Optim(name="lm", lr=1e-3, momentum=0, samples=8)}), stop=True)
    dense = Run(model=DENSE, data=PICTURES)
    train("channel", dense.model_copy(update={"preprocess": Preprocess(fit="channel")}))
    train("zca", dense.model_copy(update={"preprocess": Preprocess(fit="zca"), "augment": Augment(flip=0.5)}))
    train("sparse", dense.model_copy(update={
        "optim": Optim(name="adamw", lr=1e-3), "sparse": Sparse(sparsity=0.5, every=2), "train": Train(ema=0.9)}),
          stop=True)
    unet = Model(name="unet", fields={"widths": [4, 8], "padding": "same", "num_classes": 2, "in_chans": 1,
                                      "image_size": 32})
    train("unet", Run(model=unet, data=Data(source="pairs", batch_size=2, val_fraction=0.3),
                      loss=Loss(class_weights="balanced"), optim=Optim(lr=0.01)))
    convatlas.save(convatlas.fold(convatlas.load("runs/channel")), "folded.safetensors")
    convatlas.publish("runs/channel", "published")


def deployed() -> None:
    """deployed/: one folder per engine whose files are not this machine's alone; plain is answered without torch."""
    deploy("runs/lenet", "deployed/plain", "onnxruntime")
    for backend in ("eager", "onnxruntime", "openvino", "native"):
        deploy("runs/channel", f"deployed/{backend}", backend)
    deploy("runs/channel", "deployed/int8", "onnxruntime", "int8", calibrate="pictures", calibration_count=8,
           evaluate="pictures")
    os.environ["XDG_CACHE_HOME"] = "cache"
    optimize(convatlas.load("runs/channel").eval(), torch.zeros(1, 1, 8, 8), candidates=("eager",), seconds=0.1)


def sets() -> None:
    """shards/, unfinished/ shards, a cache of pixels, an index of vectors, and a `segment` that was interrupted."""
    from convatlas.data import Subset, Tensors
    from convatlas.data.cache import prepared
    from convatlas.data.image_folder import read_folder
    from convatlas.data.split import Split
    from convatlas.inspect.vectors import Index

    try:
        from convatlas.data.shards.writer import write_shards
        from convatlas.runs.index import list_runs
    except ImportError:     # their places before 2026-11-29
        from convatlas.data.shard_writer import write_shards

        from convatlas.runs import list_runs

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    options = {"shard_bytes": 12_000, "val_fraction": 0.25, "seed": 0}
    write_shards(Path("pictures"), Path("shards"), **options, report=lambda done, total: None)
    with suppress(KeyboardInterrupt):
        write_shards(Path("pictures"), Path("unfinished"), **options, report=stop)
    files = read_folder(Path("pictures"), Split(0.25, 0)).train
    model = convatlas.load("runs/channel").eval()
    transform = convatlas.transforms(model)
    prepared(files, Data(cache="disk", cache_dir="cache/pixels"), transform)
    held = Tensors(torch.stack([files.read(i) for i in range(len(files))]), files.labels)
    Index(Path("index"), model, transform).update(Subset(held, torch.arange(6)))
    with suppress(KeyboardInterrupt):
        segment("runs/unet", ["pairs/images/0.png"], "segmented", tile=16, overlap=8, device="cpu", probabilities=True,
                watch=lambda name, done, total: stop() if done == total - 1 else None)
    list_runs(["runs"])     # leaves runs/.index.sqlite


def answers() -> dict[str, object]:
    """What each network answers to four pictures (of pairs: one): scores, to the last digit that JSON keeps."""
    found: dict[str, object] = {}
    names = [f"pictures/{name}.png" for name in ("nought/0", "one/1", "two/2")]
    runs = ("lenet", "channel", "zca", "momentum", "sparse", "levenberg")
    for source in (*(f"runs/{name}" for name in runs), "folded.safetensors", "published"):
        net = convatlas.load(source).eval()
        show = convatlas.transforms(net)
        with torch.inference_mode():
            found[source] = net(torch.stack([show(Image.open(name)) for name in names])).tolist()
    for folder in sorted(map(str, Path("deployed").iterdir())):
        found[folder] = [dict(zip(each.classes, each.probabilities, strict=True))
                         for each in convatlas.predict(folder, names)]
    net = convatlas.load("runs/unet").eval()
    with torch.inference_mode():
        x = torch.from_numpy(np.array(Image.open("pairs/images/0.png"))).float().div(255)[None, None]
        found["runs/unet"] = net(x).mean(dim=(2, 3)).tolist()
    return found


def main(archive: Path) -> None:
    """Write the archive, in an empty folder of its own."""
    archive = archive.absolute()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = "home"       # outside what is kept
        for make in (pictures, runs, deployed, sets):
            make()
        Path("expected.json").write_text(json.dumps(answers(), indent=1) + "\n", encoding="utf-8")
        shutil.rmtree("home", ignore_errors=True)
        with tarfile.open(archive, "w:xz") as packed:
            for path in sorted(Path().iterdir()):
                packed.add(path, filter=lambda each: each.replace(uid=0, gid=0, uname="", gname="", deep=False))
        os.chdir("/")
    print(archive, archive.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
