"""`segment`: files of every kind, going on after an interruption, several processes, what cannot be."""

import csv
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas.segment import picture as pictures
from convatlas.segment.output import Journal, create
from convatlas.segment.picture import picture
from convatlas.segment.run import DONE, segment


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    net = convatlas.create_model("unet_same", widths=(4, 6, 8))
    with torch.no_grad():
        net.head.classifier.bias.copy_(torch.tensor([0.3, 0.0]))        # both classes occur
    return net.eval()


@pytest.fixture(scope="module")
def pixels():
    noise = torch.rand(1, 3, 22, 19, generator=torch.Generator().manual_seed(1))
    return (255 * torch.nn.functional.interpolate(noise, size=(203, 181),
                                                  mode="bilinear")[0]).byte().permute(1, 2, 0).numpy()


@pytest.fixture
def files(tmp_path, pixels):
    """The same picture in many ways."""
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "b.tif")
    np.save(tmp_path / "c.npy", pixels)
    np.save(tmp_path / "d.npy", np.moveaxis(pixels, 2, 0).astype(np.float32) / 255)
    np.save(tmp_path / "e.npy", pixels.astype(np.uint16) * 257)
    return [tmp_path / name for name in ("a.png", "b.tif", "c.npy", "d.npy", "e.npy")]


def expected(net, pixels):
    """The labels from the whole picture at once."""
    with torch.inference_mode():
        return net(convatlas.transforms(net).normalized(torch.from_numpy(pixels).permute(2, 0, 1)
                                                        / 255.0)[None])[0].softmax(0)


def test_every_kind_of_file_gives_the_whole_pictures_labels(net, pixels, files, tmp_path):
    shares = expected(net, pixels)
    labels = shares.argmax(0).numpy().astype(np.uint8)
    assert 0.02 < labels.mean() < 0.98
    found = segment(net, files, tmp_path / "out", tile=112, probabilities=True, overlay=True)
    assert [each.labels.name for each in found] == ["a.labels.png", "b.labels.tif", "c.labels.npy",
                                                    "d.labels.npy", "e.labels.npy"]
    for each in found:
        got = np.load(each.labels) if each.labels.suffix == ".npy" else np.asarray(Image.open(each.labels))
        assert got.dtype == np.uint8 and (got == labels).mean() > 0.9999
        np.testing.assert_allclose(np.load(each.probabilities), shares.numpy(), atol=1e-5)
        assert each.pixels == tuple(np.bincount(got.ravel(), minlength=2))
    assert not (tmp_path / "out" / "journal.jsonl").exists() and not list((tmp_path / "out").glob(".*"))
    shown = np.asarray(Image.open(found[0].overlay)).astype(int)
    assert shown.shape == pixels.shape and (shown[labels == 0] == pixels[labels == 0]).all()
    np.testing.assert_allclose(shown[labels == 1], 0.55 * pixels[labels == 1] + 0.45 * np.array([230, 75, 53]),
                               atol=0.51)
    rows = list(csv.DictReader((tmp_path / "out" / "areas.csv").open()))
    assert len(rows) == 10 and int(rows[0]["pixels"]) + int(rows[1]["pixels"]) == labels.size


@pytest.mark.parametrize("how", ["components", "watershed"])
def test_instances_and_their_table(net, pixels, tmp_path, how):
    measure = pytest.importorskip("skimage.measure")
    found, = segment(net, [pixels], tmp_path, tile=112, instances=how)
    labels, objects = (np.asarray(Image.open(path)) for path in (found.labels, found.instances))
    rows = list(csv.DictReader(found.instances.with_suffix(".csv").open()))
    assert (objects.dtype == np.int32 and found.count == len(rows) == objects.max() > 1
            and not objects[labels == 0].any())
    if how == "components":
        whole = [region.area for region in measure.regionprops(measure.label(labels, connectivity=2))
                 if region.area >= 10]
        assert sorted(whole) == sorted(int(row["area"]) for row in rows)
    for row, region in zip(rows, measure.regionprops(objects), strict=True):
        assert (int(row["object"]), int(row["area"]), row["class"]) == (region.label, region.area, "1")
        assert (float(row["row"]), float(row["column"])) == pytest.approx(region.centroid, abs=0.006)
    assert next(csv.DictReader((tmp_path / "areas.csv").open()))["instances"] == str(found.count)


def test_grey_for_a_network_of_three_channels_and_the_reverse(net, pixels, tmp_path):
    """A grey image is repeated, as in training; a coloured one turned grey for a network of one channel."""
    gray = pixels[:, :, 0]
    first, second = segment(net, [gray, np.repeat(gray[:, :, None], 3, 2)], tmp_path / "a", tile=112)
    assert first.labels.read_bytes() == second.labels.read_bytes()
    single = convatlas.create_model("unet_same", widths=(4, 6), in_chans=1)
    luminance = (pixels @ np.array([0.2989, 0.587, 0.114])).astype(np.uint8)
    first, second = segment(single, [pixels, luminance], tmp_path / "b", tile=112)
    assert (np.asarray(Image.open(first.labels)) == np.asarray(Image.open(second.labels))).mean() > 0.999


def test_tensors_arrays_and_pictures(net, pixels, tmp_path):
    images = [torch.from_numpy(pixels).permute(2, 0, 1), pixels, Image.fromarray(pixels)]
    found = segment(net, images, tmp_path, tile=112, tta="all")
    first, *others = [np.asarray(Image.open(each.labels)) for each in found]
    assert all((first == other).all() for other in others)


def test_zarr_goes_in_and_out(net, pixels, tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "z.zarr"), shape=pixels.shape, chunks=(50, 64, 3), dtype="uint8")[:] = pixels
    found, = segment(net, [tmp_path / "z.zarr"], tmp_path / "out", tile=112, probabilities=True)
    got = zarr.open_array(str(found.labels), mode="r")
    assert (got[:] == expected(net, pixels).argmax(0).numpy()).mean() > 0.9999 and got.chunks == (64, 64)
    assert found.pixels == tuple(np.bincount(got[:].ravel(), minlength=2))


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_large_tiffs_are_mapped(net, pixels, tmp_path, compression, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(pictures, "MAPPED", 1000)
    options = {"compression": "zlib", "tile": (64, 64)} if compression else {}
    tifffile.imwrite(tmp_path / "t.tif", pixels, photometric="rgb", **options)
    assert isinstance(picture(tmp_path / "t.tif").array.array, np.memmap) == (compression is None)
    found, = segment(net, [tmp_path / "t.tif"], tmp_path / "out", tile=112)
    assert (tifffile.imread(found.labels) == expected(net, pixels).argmax(0).numpy()).mean() > 0.9999
    whole = (tmp_path / "t.tif").read_bytes()
    (tmp_path / "t.tif").write_bytes(whole[: len(whole) // 2 if compression is None else len(whole) - 100])
    with pytest.raises(convatlas.ConvatlasError, match=r"t\.tif': it is truncated" if compression is None
                       else r"t\.tif'"):
        segment(net, [tmp_path / "t.tif"], tmp_path / "out", tile=112, strict=True)


INTERRUPTED = """
import os, sys, convatlas
from convatlas.segment.run import segment
net, image, out, after = sys.argv[1:]
segment(net, [image], out, tile=96, overlap=32, probabilities=True, device="cpu",
        watch=lambda name, done, total: os._exit(9) if done == int(after) else None)
"""


def as_many_threads():
    """The environment of a process with as many threads as this one: what `segment` promises bits for."""
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def test_a_killed_run_goes_on_and_gives_the_same(net, files, tmp_path):
    weights = convatlas.save(net, tmp_path / "net.safetensors")
    straight = segment(weights, files[:1], tmp_path / "straight", tile=96, overlap=32, probabilities=True,
                       device="cpu")[0]
    words = [sys.executable, "-c", INTERRUPTED, str(weights), str(files[0]), str(tmp_path / "out")]
    assert subprocess.run([*words, "5"], env=as_many_threads()).returncode == 9
    journal = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    assert json.loads(journal[0])["tile chosen"] == 96 and len(journal) == 2, "one band of three tiles was done"
    with (tmp_path / "out" / "journal.jsonl").open("a") as file:
        file.write('["a", 1')           # killed in the middle of a line
    with pytest.raises(convatlas.ConvatlasError, match=r"unfinished work .* other settings"):
        segment(weights, files[:1], tmp_path / "out", tile=128)
    seen = []
    again = segment(weights, files[:1], tmp_path / "out", tile=96, overlap=32, probabilities=True, device="cpu",
                    watch=lambda *step: seen.append(step))[0]
    assert seen[-1][1] == seen[-1][2] < 9
    assert again.labels.read_bytes() == straight.labels.read_bytes()
    assert again.probabilities.read_bytes() == straight.probabilities.read_bytes()


@pytest.mark.slow
def test_several_processes_share_the_bands(net, files, tmp_path):
    weights = convatlas.save(net, tmp_path / "net.safetensors")
    straight = segment(weights, files[2:3], tmp_path / "straight", tile=96, overlap=32, probabilities=True,
                       device="cpu")[0]
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
             "--no-python", sys.executable, "-c", INTERRUPTED, str(weights), str(files[2]), str(tmp_path / "out"), "-1"]
    done = subprocess.run(words, env=as_many_threads(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "c.labels.npy").read_bytes() == straight.labels.read_bytes()
    assert (tmp_path / "out" / "c.probabilities.npy").read_bytes() == straight.probabilities.read_bytes()


def test_what_is_beyond_the_edges_is_mirrored():
    image = torch.arange(6).reshape(1, 2, 3).byte()
    padded = np.pad(image.numpy(), ((0, 0), (5, 7), (4, 9)), mode="reflect")
    assert (picture(image).read(-5, -4, 14, 16).numpy() == padded).all()
    assert (picture(image[:, :1, :1]).read(-2, -2, 4, 4) == 0).all()


@pytest.mark.parametrize(("image", "sentence"), [
    (np.zeros((8, 8, 2), np.uint8), "has 2 channels, but the network takes 3"),
    (np.zeros((2, 2, 8, 8), np.uint8), "has the shape (2, 2, 8, 8)"), (np.zeros((8, 8), np.int32), "holds int32"),
    ("nothing.png", "there is no image 'nothing.png'")])
def test_images_that_cannot_be(net, tmp_path, image, sentence):
    with pytest.raises(convatlas.ConvatlasError) as caught:
        segment(net, [image], tmp_path, tile=64, strict=True)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    # nothing was done that stands in the way
    right, = segment(net, [np.zeros((8, 9, 3), np.uint8)], tmp_path, tile=64)
    assert sum(right.pixels) == 72


def test_one_bad_image_does_not_stop_the_others(net, files, tmp_path):
    (tmp_path / "broken.png").write_bytes(files[0].read_bytes()[:500])
    (tmp_path / "small.png").write_bytes(b"")
    Image.new("RGB", (3, 2)).save(tmp_path / "small.png")
    (tmp_path / "cut.tif").write_bytes(files[1].read_bytes()[:-4000])
    bad, cut, small = segment(net, [tmp_path / "broken.png", tmp_path / "cut.tif", tmp_path / "small.png"],
                              tmp_path / "out", tile=64)
    assert "broken.png" in bad.error and bad.labels is None and "cut.tif" in cut.error and cut.labels is None
    assert small.error is None and Image.open(small.labels).size == (3, 2), ("smaller than a tile, and than the "
                                                                             "network's least")


def test_killed_when_the_labels_were_a_picture_already(net, files, tmp_path, monkeypatch):
    straight = segment(net, files[:1], tmp_path / "straight", tile=96, device="cpu")[0]
    with monkeypatch.context() as patch:
        add = Journal.add
        patch.setattr(Journal, "add", lambda self, image, band: 1 / 0 if band == DONE else add(self, image, band))
        with pytest.raises(ZeroDivisionError):
            segment(net, files[:1], tmp_path / "out", tile=96, device="cpu")
    again = segment(net, files[:1], tmp_path / "out", tile=96, device="cpu")[0]
    assert again.labels.read_bytes() == straight.labels.read_bytes()


def test_other_refusals(net, files, tmp_path):
    with pytest.raises(convatlas.ConvatlasError, match="did you mean 'rotations"):
        segment(net, files[:1], tmp_path, tta="rotation")
    with pytest.raises(convatlas.ConvatlasError, match="scores for images, not for pixels"):
        segment(convatlas.create_model("lenet5"), files[:1], tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(convatlas.ConvatlasError, match=r"would both become 'a\.labels\.png'"):
        segment(net, [files[0], files[0].rename(tmp_path / "other" / "a.png")], tmp_path / "out")


def test_a_full_disk_is_told_before_anything_is_computed(tmp_path):
    with pytest.raises(convatlas.ConvatlasError, match=r"takes 100000\.0 GB, and the disk has .* GB free"):
        create(tmp_path / "x.npy", (10**7, 10**7), "uint8", 512)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        with pytest.raises(convatlas.ConvatlasError, match=r"cannot write .*File too large"):
            create(tmp_path / "y.npy", (2000, 2000), "uint8", 512)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
