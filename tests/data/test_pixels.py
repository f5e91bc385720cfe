"""One table of rules: whatever a picture is stored as, every reader gives the same bytes of pixels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import ConvatlasError, pixels
from convatlas.cli.paths import told
from convatlas.data import Files, UnreadableImage, prepared, read_image
from convatlas.data.survey import understood
from convatlas.data.transform import make_transform
from convatlas.engine.train import Silent
from convatlas.pixels import Decoding, decode, jpeg, read
from convatlas.pixels.hush import hushed
from convatlas.run import Data, Preprocess, Run
from convatlas.segment import picture as pictures
from convatlas.segment.pairs import open_pairs
from convatlas.segment.picture import picture

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
sys.path.insert(0, BENCHMARKS)

import odd_files  # noqa: E402

sys.path.remove(BENCHMARKS)     # its golden.py is not tests/golden

DEEP = np.random.RandomState(1).randint(0, 4096, (9, 7)).astype(np.uint16)


def test_a_part_of_the_corpus_gives_the_same_pixels_on_every_path(tmp_path):
    pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    pytest.importorskip("zarr")
    rows = odd_files.compare(tmp_path, odd_files.cases()[::40])
    assert {row["name"]: row["wrong"] for row in rows if row["wrong"]} == {}
    assert sum(row["outcome"] == "read" for row in rows) > 25 and {row["kind"] for row in rows} >= {"TIFF", "PNG"}


@pytest.mark.slow
def test_the_whole_corpus_gives_the_same_pixels_on_every_path_and_command(tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = odd_files.compare(tmp_path / "pictures", odd_files.cases())
    assert {row["name"]: row["wrong"] for row in rows if row["wrong"]} == {} and len(rows) >= 400
    found = odd_files.as_commands(tmp_path, rows)
    assert found["count_not_ours"] == 0 and not any(found["refused_otherwise"].values())


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("form", ["npy", "zarr"])
def test_arrays_of_either_byte_order(tmp_path, order, form):
    values = (np.arange(256).reshape(16, 16) * 257).astype(f"{order}u2")
    if form == "npy":
        np.save(tmp_path / "x.npy", values)
    else:
        zarr = pytest.importorskip("zarr")
        zarr.create_array(str(tmp_path / "x.zarr"), shape=values.shape, chunks=(8, 8), dtype=values.dtype)[:] = values
    found = picture(tmp_path / f"x.{form}").read(0, 0, 16, 16)
    assert found.dtype == torch.uint8 and found.flatten().tolist() == list(range(256))


def test_deep_colours_keep_both_bytes(tmp_path):
    """Pillow alone cuts 16-bit colours to their upper bytes, in which 12 bits are black."""
    values = np.random.RandomState(0).randint(0, 4096, (odd_files.H, odd_files.W, 3))
    (tmp_path / "x.png").write_bytes(odd_files.png(values, 16, 2))
    assert read(tmp_path / "x.png").max() <= 16
    found = read(tmp_path / "x.png", Decoding(range=(0, 4095)))
    assert (found == np.rint(values / 4095 * 255)).all()


def test_values_outside_the_range_are_its_ends(tmp_path):
    Image.fromarray(np.array([[0, 100, 300, 500, 65535]], np.uint16)).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png", Decoding(range=(100, 500))).tolist() == [[0, 0, 128, 255, 255]]
    Image.fromarray(np.array([[0, 64, 300]], np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match=r"values run from 0 to 300, .*data\.range"):
        read(tmp_path / "x.tif")
    assert read(tmp_path / "x.tif", Decoding(range=(0, 255))).tolist() == [[0, 64, 255]]
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match="run to 1, and those of the training images to 255"):
        read(tmp_path / "x.tif", Decoding(range=(0, 255)))
    Image.fromarray(np.array([[0, np.nan, np.inf]], np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match="2 of its 3 values are not finite"):
        read(tmp_path / "x.tif", Decoding(range=(0, 255)))
    np.save(tmp_path / "x.npy", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(UnreadableImage, match="16 of its 16 values are not finite"):
        picture(tmp_path / "x.npy").read(0, 0, 4, 4)


def test_notes_of_what_is_not_shown(tmp_path):
    frame = Image.fromarray(np.full((5, 5, 3), 9, np.uint8))
    frame.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (5, 5), "red")])
    icon = np.zeros((5, 5, 4), np.uint8)
    icon[1:3, 1:3, 3] = 255
    Image.fromarray(icon).save(tmp_path / "b.png")
    Image.fromarray(DEEP).save(tmp_path / "c.png")
    found = [decode(path) for path in sorted(tmp_path.iterdir())]
    assert [set(each.notes) for each in found] == [{"pages"}, {"alpha"}, {"dim"}]
    assert (found[1].pixels == np.where(icon[..., 3:] == 255, 0, 255)).all(), "an icon drawn in its alpha is seen"
    assert [line.partition(" have ")[0].partition(" are ")[0] for line in told(each.notes for each in found)] == [
        "1 of 3 images"] * 3


def deep_folder(root, count=4, top=4095):
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(count):
            values = np.random.RandomState(number).randint(0, top + 1, (12, 12)).astype(np.uint16)
            values[0, 0] = top
            Image.fromarray(values if label == "a" else top - values).save(root / label / f"{number}.png")
    return root


def test_a_range_is_found_told_kept_and_used_by_everybody(tmp_path):
    data, said = deep_folder(tmp_path / "data"), []
    run = Run().change("model.name", "lenet1", "model.fields", {"image_size": 16}, "data.source", str(data),
                       "train.epochs", 1, "preprocess.crop_pct", 1.0)

    class Heard(Silent):
        def tell(self, text):
            said.append(text)

    trained = convatlas.train(run, out=tmp_path / "run", watch=Heard())
    assert "16-bit images hold values up to 4095: they are read as 12 bits (data.range = 4095)." in said
    net = convatlas.load(tmp_path / "run")
    assert net.card.preprocess.range == (0, 4095) == convatlas.api.run_of(trained.folder).preprocess.range
    files = sorted(data.rglob("*.png"))
    byte = tmp_path / "8.png"
    Image.fromarray(np.rint(np.asarray(Image.open(files[0])) / 4095 * 255).astype(np.uint8)).save(byte)
    twelve, eight = convatlas.predict(tmp_path / "run", [files[0], byte])
    assert twelve.probabilities == eight.probabilities and not twelve.notes
    forgotten = convatlas.load(tmp_path / "run")
    forgotten.card = forgotten.card.__class__(**{**vars(forgotten.card), "preprocess": Preprocess(crop_pct=1.0)})
    other, = convatlas.predict(forgotten, files[:1])
    assert other.notes == ("dim",)


@pytest.mark.parametrize(("said", "values", "kept"), [
    ("auto", 255, (0, 255)), ("auto", 900, (0, 1023)), ("auto", 16384, None), (4095.0, 900, (0, 4095)),
    ((100, 2000), 900, (100, 2000))])
def test_the_smallest_range_that_holds_the_values(tmp_path, said, values, kept):
    files = sorted(deep_folder(tmp_path, 2, values).rglob("*.png"))
    run = Run().change("data.range", said)
    assert understood(run, len(files), files.__getitem__, lambda text: None).preprocess.range == kept


def test_the_range_is_a_word_or_rising_numbers():
    assert Run.from_yaml(Run().change("data.range", 4095).to_yaml()).data.range == 4095
    for wrong in (0, -1, (5, 5), (9, 1), float("inf"), "bits"):
        with pytest.raises(ConvatlasError, match=r"data\.range"):
            Run().change("data.range", wrong)


def test_caches_and_sets_of_files_take_the_range_of_the_transform(tmp_path):
    files = sorted(deep_folder(tmp_path, 2).rglob("*.png"))
    transform = make_transform(Preprocess(range=(0, 4095)), 8, 1)
    wanted = [torch.from_numpy(read(path, Decoding(range=(0, 4095))))[None] for path in files]
    for cache in ("off", "memory", "disk"):
        images = prepared(Files(files, torch.zeros(len(files))), Data(cache=cache, cache_dir=str(tmp_path / "cache")),
                          transform)
        assert all(torch.equal(images.read(i), pixels) for i, pixels in enumerate(wanted)), cache


def test_images_with_masks_take_the_range(tmp_path):
    for name, values in (("images", DEEP), ("masks", (DEEP > 2000).astype(np.uint8))):
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.fromarray(values).save(tmp_path / name / f"{number}.png")
    data = open_pairs(Data(source=str(tmp_path)))
    wanted = torch.from_numpy(np.rint(DEEP / 4095 * 255))
    run = understood(Run(), 5, lambda index: Path(data.train.file_of(index % 4)), lambda text: None)
    found = data.decoded_as(Decoding(range=run.preprocess.range))
    assert torch.equal(found.train.image(0)[0].double(), wanted) and torch.equal(found.val.image(0)[0].double(), wanted)


def test_large_pictures_are_refused_before_they_are_decoded(tmp_path):
    Image.new("L", (300, 200)).save(tmp_path / "x.png")
    Image.new("L", (300, 200)).save(tmp_path / "x.jpg")
    for path in (tmp_path / "x.png", tmp_path / "x.jpg"):
        with pytest.raises(UnreadableImage, match=r"300×200 pixels, and 59999 are decoded at most: .*--max-pixels"):
            read(path, Decoding(most=59_999))
        assert read(path, Decoding(most=60_000)).shape == (200, 300)
    assert read(tmp_path / "x.jpg", Decoding(least=25, most=20_000)).shape == (50, 75), "decoded at a quarter"
    found, = convatlas.predict(convatlas.create_model("lenet1"), [tmp_path / "x.png"], max_pixels=10)
    assert found.error is not None and "10 are decoded at most" in found.error


def test_a_fifo_is_no_picture(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no FIFOs here")
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UnreadableImage, match="no regular file"):
        read_image(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.npy")
    with pytest.raises(UnreadableImage, match="no regular file"):
        picture(tmp_path / "x.npy")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpegs_are_equal_with_and_without_simplejpeg(tmp_path, monkeypatch, mode):
    pytest.importorskip("simplejpeg")
    y, x = np.mgrid[:61, :83]
    noise = np.random.RandomState(0).randint(0, 60, (61, 83, 3))
    image = Image.fromarray((np.stack([x * 3, y * 4, 255 - x - y], -1) // 2 + noise).clip(0, 255).astype(np.uint8))
    for options in ({}, {"subsampling": 0}, {"progressive": True}, {"quality": 20}):
        image.convert(mode).save(tmp_path / "x.jpg", **options)
        fast = read(tmp_path / "x.jpg")
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "_simplejpeg", lambda: None)
            assert (read(tmp_path / "x.jpg") == fast).all()


def test_libtiff_does_not_write_on_the_screen_and_others_do(tmp_path, capfd):
    noise = np.random.RandomState(0).randint(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    content[600:700] = bytes(100)
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"decoder error -2 \(.*: "):
        read(tmp_path / "x.tif")
    assert capfd.readouterr().err == ""
    said = []
    with hushed(said):
        os.write(2, b"a word\nZIPDecode: Decoding error.\nTIFFFetchNormalTag: Incorrect count.\n")
    assert said == ["ZIPDecode: Decoding error."] and capfd.readouterr().err == "a word\n"


def test_large_tiffs_that_are_read_in_parts_are_turned_and_coloured_alike(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(pictures, "MAPPED", 0)
    for orientation in range(1, 9):
        tifffile.imwrite(tmp_path / "x.tif", DEEP, photometric="miniswhite", metadata=None,
                         extratags=[(274, 3, 1, orientation, True)])
        whole, parts = read(tmp_path / "x.tif"), picture(tmp_path / "x.tif")
        high, wide = whole.shape
        assert parts.size == (high, wide)
        for top, left, h, w in ((0, 0, high, wide), (1, 2, 4, 3), (-3, -2, 5, 6), (high - 2, wide - 3, 6, 7)):
            rows, columns = (pictures.reflected(*each).numpy() for each in ((top, h, high), (left, w, wide)))
            assert (parts.read(top, left, h, w)[0].numpy() == whole[rows][:, columns]).all(), orientation


@pytest.mark.slow
def test_predict_says_once_what_it_did_not_show(tmp_path):
    """The command line, end to end."""
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    Image.fromarray(np.full((30, 30, 4), 100, np.uint8)).save(tmp_path / "clear.png")
    net = convatlas.create_model("lenet1")
    convatlas.weights.save(tmp_path / "net.safetensors", net.state_dict(), net.card)
    done = subprocess.run([sys.executable, "-m", "convatlas", "predict", tmp_path / "net.safetensors", tmp_path,
                           "--max-pixels", "800"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "900 pixels" not in done.stderr
    assert "1 of 2 images have 16 bits and nowhere exceed 4095" in done.stderr and "30×30 pixels" in done.stderr


def test_pixels_names_what_it_offers():
    assert all(name in vars(pixels) for name in pixels.__all__)
