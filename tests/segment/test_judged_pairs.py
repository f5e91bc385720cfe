"""Images with masks after training: read, judged and trained on as the run understood them when it began."""

import numpy as np
import pytest
from PIL import Image

from convatlas.data.manifest import place
from convatlas.errors import ConvatlasError
from convatlas.run import Data, Model, Run
from convatlas.runs.folder import write_config
from convatlas.runs.manifest import IMAGES, MANIFEST, kept, write
from convatlas.segment.manifest import judged_on, record_of, resumed
from convatlas.segment.pairs import open_pairs

COLORS = np.array([(0, 0, 0), (250, 0, 0), (0, 250, 0)], np.uint8)


def pair(root, name, classes, *, colors=False):
    """A picture and a mask with squares of these classes."""
    dice = np.random.default_rng(len(name) + sum(map(ord, name)))
    mask = np.zeros((16, 20), np.uint8)
    for number, value in enumerate(classes):
        mask[2 + 5 * number:6 + 5 * number, 3:12] = value
    for folder, pixels in (("images", dice.integers(0, 255, (16, 20, 3), dtype=np.uint8)),
                           ("masks", COLORS[mask] if colors else mask)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / folder / f"{name}.png")


def scenes(root, count=20, *, colors=False):
    for i in range(count):
        pair(root, f"{i:02}", (1,) if i % 3 == 0 else (1, 2), colors=colors)
    return root


def trained(data, folder, **changed):
    config = Data(source=str(data), **changed)
    folder.mkdir()
    write_config(folder, Run(model=Model(name="unet_same"), data=config))
    pairs = open_pairs(config)
    record = record_of(pairs, config, 0)
    write(folder, record.manifest, record.entries)
    return pairs


def files(images):
    return [images.file_of(i) for i in range(len(images))]


def judged(run, data, split="auto", accept=False, **changed):
    return judged_on(run, Data(source=str(data), **changed), split, accept)


@pytest.mark.parametrize("masks", ["classes", "instances"])
def test_masks_are_read_as_the_run_read_them(tmp_path, masks):
    """Whatever they would be taken for now."""
    pairs = trained(scenes(tmp_path / "data"), tmp_path / "run", masks=masks)
    for data in (tmp_path / "data", scenes(tmp_path / "other", 3)):
        found = judged(tmp_path / "run", data)
        assert found.pairs.classes == pairs.classes and found.pairs.reading == pairs.reading
    assert files(judged(tmp_path / "run", tmp_path / "data").images) == files(pairs.val)
    assert judged(tmp_path / "run", tmp_path / "data", masks="binary").pairs.reading.kind == "binary"


def test_a_color_that_is_missing_shifts_no_class(tmp_path):
    trained(scenes(tmp_path / "data", colors=True), tmp_path / "run")
    for i in range(3):
        pair(tmp_path / "other", str(i), (1,), colors=True)     # red; in the run green, which sorts before it, was 1
    found = judged(tmp_path / "run", tmp_path / "other")
    assert found.images.classes_of(0).unique().tolist() == [0, 2]
    assert (found.part, len(found.images)) == ("all", 3)


def test_what_was_held_out_is_judged_after_pairs_have_been_added(tmp_path):
    pairs = trained(scenes(tmp_path / "data"), tmp_path / "run", val_fraction=0.1)
    for i in range(4):
        pair(tmp_path / "data", f"0{i}new", (1, 2))
    for accept in (False, True):
        found = judged(tmp_path / "run", tmp_path / "data", accept=accept)
        assert files(found.images) == files(pairs.val) and len(found.images) == 2
        assert "4 image(s) are new" in found.notes[-1]
    again = resumed(Data(source=str(tmp_path / "data"), val_fraction=0.1), kept(tmp_path / "run"), accept=False)
    assert files(again.train) == files(pairs.train) and files(again.val) == files(pairs.val)
    assert len(judged(tmp_path / "run", tmp_path / "data", "train").images) == 18
    assert len(judged(tmp_path / "run", tmp_path / "data", "all").images) == 24


def test_a_changed_mask_of_a_held_out_image_is_refused(tmp_path):
    pairs = trained(scenes(tmp_path / "data"), tmp_path / "run")
    mask = pairs.val.mask_files(1)[0]
    Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    with pytest.raises(ConvatlasError, match=r"1 held-out image\(s\) are not what they were .*--accept-changes"):
        judged(tmp_path / "run", tmp_path / "data")


def test_a_training_image_that_is_gone_is_refused_for_a_run_that_goes_on(tmp_path):
    pairs = trained(scenes(tmp_path / "data"), tmp_path / "run")
    for path in (pairs.train.file_of(0), pairs.train.mask_files(0)[0]):
        (place(str(path)) or path).unlink()
    config = Data(source=str(tmp_path / "data"))
    assert files(judged(tmp_path / "run", tmp_path / "data").images) == files(pairs.val)
    with pytest.raises(ConvatlasError, match=r"1 training image\(s\) are missing"):
        resumed(config, kept(tmp_path / "run"), accept=False)
    assert files(resumed(config, kept(tmp_path / "run"), accept=True).train) == files(pairs.train)[1:]


def test_an_older_run_is_judged_by_its_configuration(tmp_path):
    pairs = trained(scenes(tmp_path / "data"), tmp_path / "run", val_fraction=0.1, masks="classes")
    for name in (MANIFEST, IMAGES):
        (tmp_path / "run" / name).unlink()
    found = judged(tmp_path / "run", tmp_path / "data")
    assert files(found.images) == files(pairs.val) and found.pairs.classes == pairs.classes


def test_a_test_part_is_judged_whole(tmp_path):
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        scenes(tmp_path / "data" / part, count)
    trained(tmp_path / "data", tmp_path / "run")
    counts = {split: len(judged(tmp_path / "run", tmp_path / "data", split).images)
              for split in ("auto", "train", "val", "test", "all")}
    assert counts == {"auto": 4, "train": 10, "val": 3, "test": 4, "all": 17}
    assert len(judged(tmp_path / "run", tmp_path / "data/test").images) == 4
    assert len(judged(None, tmp_path / "data/test").images) == 4
    assert "10 of the 10 images" in judged(tmp_path / "run", tmp_path / "data/train").notes[-1]
