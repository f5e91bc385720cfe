"""A run's manifest: its held-out images are judged, and no others, whatever its data has become."""

import gzip
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data import open_data
from convatlas.data.manifest import record_of, resumed
from convatlas.engine.distributed import World
from convatlas.errors import ConvatlasError
from convatlas.evaluation.judging import judged_on
from convatlas.run import Data, Model, Run
from convatlas.runs.folder import WEIGHTS, write_config
from convatlas.runs.manifest import IMAGES, MANIFEST, copy, kept, write

HERE = World(0, 1, torch.device("cpu"))


def picture(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate("abc"):
        for i in range(10):
            picture(tmp_path / f"photos/{name}/{i}.png", 60 * number + i)
    return tmp_path / "photos"


def trained(data, folder, **changed):
    """The folder of a run on that data, as training leaves it."""
    config = Data(source=str(data), **changed)
    folder.mkdir()
    write_config(folder, Run(model=Model(name="lenet5"), data=config))
    source = open_data(config, seed=0)
    record = record_of(source, config, 0)
    write(folder, record.manifest, record.entries)
    (folder / WEIGHTS).touch()
    return source


def names(images):
    return [images.name(i) for i in range(len(images))]


def judged(run, data, split="auto", accept=False, **changed):
    return judged_on([run], Data(source=str(data), **changed), split, HERE, accept)


def test_what_was_held_out_is_judged_after_images_have_been_added(photos, tmp_path):
    held = names(trained(photos, tmp_path / "run").val)
    for i in range(5):
        picture(photos / f"a/0{i}.png", 200 + i)
    for path in (tmp_path / "run", tmp_path / "run" / WEIGHTS):
        found = judged(path, photos)
        assert (names(found.images), found.part) == (held, "val")
        assert "5 image(s) are new ('a/00.png'" in found.notes[-1]
    assert set(names(judged(tmp_path / "run", photos, "all").images)) > set(held)
    again, told = resumed(open_data(Data(source=str(photos)), seed=0), kept(tmp_path / "run"),
                          Data(source=str(photos)), accept=False)
    assert names(again.val) == held and len(again.train) == 24 and "5 image(s) are new" in told[0]


def test_a_deployed_folder_judges_the_same_images(photos, tmp_path, monkeypatch):
    held = names(trained(photos, tmp_path / "run").val)
    (tmp_path / "deployed").mkdir()
    copy(tmp_path / "run" / WEIGHTS, tmp_path / "deployed")
    assert str(tmp_path) not in (tmp_path / "deployed" / MANIFEST).read_text().replace(str(photos), "")
    assert names(judged(tmp_path / "deployed", photos).images) == held
    (tmp_path / "without").mkdir()
    copy(None, tmp_path / "without")          # of a network that has no run
    assert not list((tmp_path / "without").iterdir())


def test_data_that_was_moved_is_known_by_its_files(photos, tmp_path):
    held = [name.replace("photos", "moved") for name in names(trained(photos, tmp_path / "run").val)]
    photos.rename(tmp_path / "moved")
    assert names(judged(tmp_path / "run", tmp_path / "moved").images) == held


def test_images_of_other_data_that_were_trained_on_are_told(photos, tmp_path):
    source = trained(photos, tmp_path / "run")
    shutil.copytree(photos / "a", tmp_path / "other/a")
    found = judged(tmp_path / "run", tmp_path / "other")
    count = sum("/a/" in name for name in names(source.train))
    assert (found.part, len(found.images)) == ("all", 10)
    assert found.notes[-1].startswith(f"{count} of the 10 images of {tmp_path / 'other'} are images that ")


CHANGES = {
    "missing": lambda photos, name: name.unlink(),
    "another picture": lambda photos, name: picture(name, 250),
    "another class": lambda photos, name: name.rename(photos / "c/moved.png"),
    "class renamed": lambda photos, name: (photos / "a").rename(photos / "z"),
    "class added": lambda photos, name: picture(photos / "d/0.png", 1),
    "class removed": lambda photos, name: shutil.rmtree(photos / "b"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("resumes", [False, True])
def test_changes_of_held_out_images_and_of_classes_are_refused(photos, tmp_path, change, resumes):
    held = names(trained(photos, tmp_path / "run").val)
    CHANGES[change](photos, next(photos / name for name in held if "/a/" in name))

    def again(accept):
        config = Data(source=str(photos))
        if resumes:
            source, told = resumed(open_data(config, seed=0), kept(tmp_path / "run"), config, accept)
            assert source.classes == ("a", "b", "c")
            return source.val, told
        found = judged(tmp_path / "run", photos, accept=accept)
        return found.images, found.notes

    with pytest.raises(ConvatlasError, match=r"has changed since .*run was trained on it: .*--accept-changes"):
        again(False)
    images, told = again(True)
    assert set(names(images)) <= set(held) and len(images) >= 4
    assert "has changed since" in told[-1]


def test_a_run_that_goes_on_needs_its_training_images_too(photos, tmp_path):
    source = trained(photos, tmp_path / "run")
    (photos / source.train.name(3)).unlink()
    config, known = Data(source=str(photos)), kept(tmp_path / "run")
    assert len(judged(tmp_path / "run", photos).images) == 6
    with pytest.raises(ConvatlasError, match=r"1 training .* missing .*--accept-changes` goes on with what is left"):
        resumed(open_data(config, seed=0), known, config, accept=False)
    again, _ = resumed(open_data(config, seed=0), known, config, accept=True)
    assert names(again.train) == [name for name in names(source.train) if name != source.train.name(3)]


def test_labels_stay_those_of_the_run_where_classes_have_changed(photos, tmp_path):
    source = trained(photos, tmp_path / "run")
    (photos / "a").rename(photos / "z")
    config = Data(source=str(photos))
    again, _ = resumed(open_data(config, seed=0), kept(tmp_path / "run"), config, accept=True)
    assert set(again.train.labels.tolist()) == {1, 2} and again.classes == source.classes


def test_nothing_changes_where_nothing_has_changed(photos, tmp_path):
    trained(photos, tmp_path / "run")
    config = Data(source=str(photos))
    source = open_data(config, seed=0)
    again, told = resumed(source, kept(tmp_path / "run"), config, accept=False)
    assert again is source and told == ()


def test_arrays_that_are_not_what_they_were_are_refused(tmp_path):
    x, y = np.arange(640, dtype=np.uint8).reshape(40, 4, 4), np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    held = names(trained(tmp_path / "a.npz", tmp_path / "run").val)
    assert names(judged(tmp_path / "run", tmp_path / "a.npz").images) == held
    shutil.copy(tmp_path / "a.npz", tmp_path / "b.npz")
    assert len(judged(tmp_path / "run", tmp_path / "b.npz").images) == len(held)
    np.savez(tmp_path / "a.npz", x=x[1:], y=y[1:])
    with pytest.raises(ConvatlasError, match=r"32 \+ 8 images then, .* now"):
        judged(tmp_path / "run", tmp_path / "a.npz")
    assert "32 + 8 images then" in judged(tmp_path / "run", tmp_path / "a.npz", accept=True).notes[-1]


def test_an_older_run_is_judged_by_its_configuration(photos, tmp_path):
    held = names(trained(photos, tmp_path / "run", val_fraction=0.1).val)
    (tmp_path / "run" / MANIFEST).unlink()
    (tmp_path / "run" / IMAGES).unlink()
    assert names(judged(tmp_path / "run", photos).images) == held and len(held) == 3


def test_runs_that_held_out_different_images_are_not_judged_together(photos, tmp_path):
    trained(photos, tmp_path / "run")
    trained(photos, tmp_path / "other", val_fraction=0.1)
    with pytest.raises(ConvatlasError, match=r"held out different images of .*\(0.2, 0\), \(0.1, 0\)"):
        judged_on([tmp_path / "run", tmp_path / "other"], Data(source=str(photos)), "auto", HERE)


@pytest.mark.parametrize(("split", "match"), [
    ("val", "no validation part of its own, and is not what the network was trained on: --split all"),
    ("train", "no training part of its own"), ("test", "no test part: --split val, train or all")])
def test_a_part_that_is_not_there_is_refused(photos, tmp_path, split, match):
    with pytest.raises(ConvatlasError, match=match):
        judged_on([], Data(source=str(photos)), split, HERE)
    assert len(judged_on([], Data(source=str(photos)), "all", HERE).images) == 30


def test_identical_pictures_are_told(photos):
    shutil.copy(photos / "a/0.png", photos / "b/twin.png")
    for i in range(10):
        shutil.copy(photos / "a/1.png", photos / f"a/copy{i}.png")
    config = Data(source=str(photos))
    notes = record_of(open_data(config, seed=0), config, 0).notes
    assert len(notes) == 2 and "both in the training and in the validation part" in notes[0]
    assert notes[1].startswith("1 picture(s) lie in more than one class, byte for byte: 'a/0.png' is 'b/twin.png'")


def test_names_keep_their_bytes(photos, tmp_path):
    odd = photos / "a/\udcff.png"
    picture(odd, 5)
    source = trained(photos, tmp_path / "run")
    assert any(entry.name == "a/\udcff.png" for entry in kept(tmp_path / "run").entries)
    assert names(judged(tmp_path / "run", photos).images) == names(source.val)


@pytest.mark.parametrize("damage", ["not a gzip", "a line lost", "no JSON", "a newer format"])
def test_a_damaged_manifest_is_refused(photos, tmp_path, damage):
    trained(photos, tmp_path / "run")
    if damage == "not a gzip":
        (tmp_path / "run" / IMAGES).write_bytes(b"part,label")
    elif damage == "a line lost":
        lines = gzip.decompress((tmp_path / "run" / IMAGES).read_bytes()).splitlines(keepends=True)
        (tmp_path / "run" / IMAGES).write_bytes(gzip.compress(b"".join(lines[:-1])))
    else:
        (tmp_path / "run" / MANIFEST).write_text("{" if damage == "no JSON" else '{"format": 99}')
    with pytest.raises(ConvatlasError, match=r"cannot be read|does not list the 30 images|formats up to 1"):
        judged(tmp_path / "run", photos)


@pytest.fixture
def parted(tmp_path):
    for part, count in (("Training", 6), ("valid", 2), ("Testing", 3)):
        for number, name in enumerate("ab"):
            for i in range(count):
                picture(tmp_path / f"scans/{part}/{name}/{i}.png", 90 * number + 20 * len(part) + i)
    return tmp_path / "scans"


@pytest.mark.parametrize(("split", "part", "count"), [
    ("auto", "test", 6), ("train", "train", 12), ("val", "val", 4), ("test", "test", 6), ("all", "all", 22)])
@pytest.mark.parametrize("run", [True, False])
def test_parts_of_the_data_are_judged_by_name(parted, tmp_path, split, part, count, run):
    if run:
        trained(parted, tmp_path / "run")
    found = judged(tmp_path / "run", parted, split)
    assert (found.part, len(found.images), len(set(names(found.images)))) == (part, count, count)
    assert any("Judged is the test part of scans" in note for note in found.notes) == (split == "auto")


def test_a_changed_test_part_is_no_change_of_the_run(parted, tmp_path):
    trained(parted, tmp_path / "run")
    picture(parted / "Testing/a/new.png", 3)
    (parted / "Testing/b/0.png").unlink()
    assert len(judged(tmp_path / "run", parted).images) == 6
    assert not any("changed" in note for note in judged(tmp_path / "run", parted, "val").notes)


def test_a_part_given_alone_is_judged_whole(parted, tmp_path):
    trained(parted, tmp_path / "run")
    for part, count in (("Testing", 6), ("valid", 4)):
        found = judged(tmp_path / "run", parted / part)
        assert (found.part, len(found.images)) == ("all", count) and "trained on" not in found.notes[-1]
    assert judged(tmp_path / "run", parted / "Training").notes[-1].startswith("12 of the 12 images of ")


@pytest.mark.parametrize("digested", [True, False])
def test_a_file_in_both_parts_is_told_and_judged_as_it_was_validated_on(tmp_path, monkeypatch, digested):
    """Two tables may name one file, and call it differently."""
    if not digested:
        monkeypatch.setattr("convatlas.data.manifest.HASHED", -1)
    for i in range(12):
        picture(tmp_path / f"photos/{i}.png", 20 * i)
    for part, rows in (("train", range(9)), ("val", range(8, 12))):
        lines = [f"{i}.png,{'ab'[(i + (part == 'val')) % 2]}" for i in rows]
        (tmp_path / f"photos/{part}.csv").write_text("\n".join(["file,label", *lines]))
    source = trained(tmp_path / "photos", tmp_path / "run")
    config = Data(source=str(tmp_path / "photos"))
    note = record_of(source, config, 0).notes[0]
    assert "both in the training and in the validation part, byte for byte: '8.png'" in note
    found = judged(tmp_path / "run", tmp_path / "photos")
    assert names(found.images) == names(source.val) and torch.equal(found.images.labels, source.val.labels)
    assert len(judged(tmp_path / "run", tmp_path / "photos", "all").images) == 12
    again, told = resumed(source, kept(tmp_path / "run"), config, accept=False)
    assert again is source and told == ()
