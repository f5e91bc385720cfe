"""Draw every picture of docs/inspect.md, docs/evaluation.md and docs/segmentation.md by the commands that stand above
them.

    uv run python benchmarks/pictures.py --data-dir DATA [--work DIR] [PAGE …]

DATA holds cifar10-jpeg/{train,test}/<class>/*.jpg, of which cifar10-small is made (1000 and 200 images per class, the
first by name), and nuclei/{images,labels}. Networks are trained in DIR/runs first, by the commands at the pages' ends,
unless they are there already.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("inspect", "evaluation", "segmentation")
SMALL = {"train": 1000, "test": 200}


def commands(page: str) -> list[list[str]]:
    """The words of every `convatlas …` line in the page's blocks; training first."""
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [shlex.split(line)[1:] for block in blocks for line in block.splitlines() if line.startswith("convatlas ")]
    drawn = [words for words in lines if words[0] in ("train", "inspect", "eval") and "--out" in words]
    return sorted((words for words in drawn if "runs/…" not in words), key=lambda words: words[0] != "train")


def small(data: Path, work: Path) -> Path:
    """`work`/data: links to what is in `data`, and the small part of CIFAR-10."""
    home = work / "data"
    home.mkdir(exist_ok=True)
    for folder in data.iterdir():
        if not (home / folder.name).exists():
            (home / folder.name).symlink_to(folder.resolve())
    for part, count in SMALL.items():
        for label in sorted((data / "cifar10-jpeg" / part).glob("*")):
            target = home / "cifar10-small" / part / label.name
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(label.iterdir())[:count]:
                if not (target / file.name).exists():
                    shutil.copy(file, target)
    return home


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("pages", nargs="*", default=PAGES)
    asked = parser.parse_args()
    work = (asked.work or Path(tempfile.mkdtemp())).resolve()
    data = small(asked.data_dir, work)
    for page in asked.pages:
        images = DOCS / "images" / page
        images.mkdir(parents=True, exist_ok=True)
        for words in commands(page):
            words = [word.replace("DATA/", f"{data}/") for word in words]
            out = Path(words[words.index("--out") + 1])
            if words[0] == "train" and (work / out).exists():
                continue
            if words[0] == "inspect":
                words[words.index("--out") + 1] = str(images / out)
            print("convatlas", *words, flush=True)
            subprocess.run([sys.executable, "-m", "convatlas", *words], cwd=work, check=True)
            if words[0] == "eval":
                for picture in (work / out).glob("*.png"):
                    shutil.copy(picture, images)


if __name__ == "__main__":
    main()
