"""Trained, folded, deployed: a folder that answers without PyTorch, by our own kernels or by ONNX Runtime."""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from torchvision.transforms.functional import to_pil_image

import convatlas
from convatlas.data import open_data
from convatlas.deploy import deploy

ASK = """
import sys
from convatlas.cli import main
code = main(["predict", *sys.argv[1:], "--top-k", "1"])
print("torch was imported" if "torch" in sys.modules else "torch was not imported")
sys.exit(code)
"""

with TemporaryDirectory() as place:
    home = Path(place)
    run = convatlas.Run().change("model.name", "resnet20_cifar", "model.fields", {"in_chans": 1, "image_size": 8},
                                 "data.source", "digits", "preprocess.crop_pct", 1.0, "optim.lr", 0.05,
                                 "train.epochs", 2)
    trained = convatlas.train(run, out=home / "run")
    print(f"{trained.evaluation.top1:.1%} of {trained.evaluation.count} held-out digits right")
    model = convatlas.fold(convatlas.load(trained.folder).eval())
    print(model.card.folded)                                        # what was merged, and the largest difference
    report = deploy(model, home / "digits", backend="native" if shutil.which("g++") else "onnxruntime")
    print(report)
    picture = home / "digit.png"
    to_pil_image(open_data(run.data).val.read(0)).save(picture)
    subprocess.run([sys.executable, "-c", ASK, str(home / "digits"), str(picture)], check=True)
