"""The numbers on the lecture's slides, by its sections: all that is kept of its text.

uv run python tests/facts/lecture_numbers.py LECTURE.txt        (writes lecture_numbers.yaml anew)
"""

import re
import sys
from itertools import pairwise
from pathlib import Path

STORED = Path(__file__).with_suffix(".yaml")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:×\d+)*")
BREAKS = {              # a line of the lecture with which a section begins, and its name in claims.yaml
    "": "Opening", "**THE EARLIEST": "LeNet", "ALEXNET IGNITED": "AlexNet", "VGG NETWORKS ADDED": "VGG",
    "INCEPTION NETWORKS": "Inception", "ALL-CONVOLUTIONAL": "All-convolutional networks", "RESNETS ADDED": "ResNet",
    "**DENSENETS": "DenseNet", "**SQUEEZE": "Squeeze and excitation", "MOBILENETS WERE": "MobileNet",
    "EFFICIENTNET USED": "EfficientNet", "U-NET COMBINED": "U-Net",
    "CONVOLUTIONAL NETWORKS CONTINUE": "Recent advances",
}


def numbers(text: str) -> set[str]:
    """The numbers of a text, sizes whole: 3×3×64, 6.67, 224×224. Powers and products count as their factors."""
    plain = text.replace(r"\times", "×").replace("$", "")
    plain = re.sub(r"(?<=\d)\s*[x×]\s*(?=\d)", "×", plain)
    return {number.rstrip(".,") for number in NUMBER.findall(plain)}


def sections(lecture: str) -> dict[str, str]:
    """The lecture's text by section, without its repeated summary and its references."""
    starts = [lecture.index(f"\n{line}") for line in BREAKS]
    ends = [*starts[1:], lecture.index("\nSummary", starts[-1])]
    assert all(a < b for a, b in pairwise(starts))
    return {name: lecture[a:b] for name, a, b in zip(BREAKS.values(), starts, ends, strict=True)}


if __name__ == "__main__":
    found = sections(Path(sys.argv[1]).read_text(encoding="utf-8"))
    lines = [f"{name}: [" + ", ".join(f'"{each}"' for each in sorted(numbers(text))) + "]\n"
             for name, text in found.items()]
    STORED.write_text("# Written by lecture_numbers.py from the lecture, which is no part of this project.\n"
                      + "".join(lines), encoding="utf-8")
