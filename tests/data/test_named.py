"""Data sets known by name: every layout on disk, damaged files, and no network unless it is asked for."""

import bz2
import gzip
import hashlib
import pickle
import socket
import struct

import numpy as np
import pytest
import torch

from convatlas import ConvatlasError
from convatlas.data import named, open_data
from convatlas.run import Data

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 28, 28), dtype=np.uint8)
LABELS = (np.arange(20) % 10).astype(np.uint8)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def put_idx(folder, packed=False, spelling="-idx"):
    folder.mkdir(parents=True, exist_ok=True)
    for part, cut in (("train", slice(None)), ("t10k", slice(0, 10))):
        for kind, array in (("images-idx3", IMAGES[cut]), ("labels-idx1", LABELS[cut])):
            path = folder / f"{part}-{kind}-ubyte".replace("-idx", spelling)
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))


def opened(name, folder, **fields):
    return open_data(Data(source=name, data_dir=str(folder), **fields))


@pytest.mark.parametrize(("name", "below"), [
    ("mnist", "."), ("mnist", "mnist"), ("mnist", "MNIST/raw"),
    ("fashion-mnist", "."), ("fashion-mnist", "fashion-mnist"), ("fashion-mnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path, name, below, packed):
    put_idx(tmp_path / below, packed)
    source = opened(name, tmp_path)
    assert (source.name, len(source.train), len(source.val), len(source.classes)) == (name, 20, 10, 10)
    assert torch.equal(source.train.images[:, 0], torch.from_numpy(IMAGES))
    assert source.val.labels.tolist() == LABELS[:10].tolist() and source.val.name(3) == f"{name}:test[3]"


def test_idx_files_with_a_dot(tmp_path):
    put_idx(tmp_path, spelling=".idx")
    assert len(opened("mnist", tmp_path).train) == 20


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("left", [0, 10, 1000])
def test_truncated_idx(tmp_path, packed, left):
    put_idx(tmp_path, packed)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ConvatlasError, match="truncated") as caught:
        opened("mnist", tmp_path)
    assert str(path) in str(caught.value)
    if left == 1000:
        assert f"{16 + IMAGES.size} bytes are expected" in str(caught.value)
        assert packed or "1000 were found" in str(caught.value)


@pytest.mark.parametrize(("file", "content", "said"), [
    ("train-images-idx3-ubyte", idx(LABELS) + bytes(20), "it begins with 00 00 08 01"),
    ("train-labels-idx1-ubyte", idx(LABELS) + b"x", "too long"),
    ("train-labels-idx1-ubyte", idx(LABELS[:19]), "20 images and 19 labels"),
    ("train-labels-idx1-ubyte", idx(LABELS + 1), "labels 1..10, not 0..9")])
def test_wrong_idx(tmp_path, file, content, said):
    put_idx(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ConvatlasError, match=said):
        opened("mnist", tmp_path)


def test_damaged_gzip(tmp_path):
    put_idx(tmp_path, packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip at all, but longer than a header")
    with pytest.raises(ConvatlasError, match="cannot read"):
        opened("mnist", tmp_path)


@pytest.mark.parametrize("below", [".", "usps"])
def test_usps_npz(tmp_path, below):
    (tmp_path / below).mkdir(exist_ok=True)
    pixels = (IMAGES[:, :16, :16] / 255).astype(np.float16)
    np.savez(tmp_path / below / "usps.npz", x_train=pixels, y_train=LABELS, x_test=pixels[:10], y_test=LABELS[:10])
    source = opened("usps", tmp_path)
    assert (source.name, len(source.train), len(source.val)) == ("usps", 20, 10)
    assert torch.equal(source.train.images[:, 0], torch.from_numpy(IMAGES[:, :16, :16].copy()))


def test_usps_as_torchvision_keeps_it(tmp_path):
    for file in ("usps.bz2", "usps.t.bz2"):
        lines = [f"{1 + i % 10} " + " ".join(f"{k + 1}:{(-1) ** (k + i)}" for k in range(256)) for i in range(10)]
        (tmp_path / file).write_bytes(bz2.compress("\n".join(lines).encode()))
    source = opened("usps", tmp_path)
    assert source.train.images.shape == (10, 1, 16, 16) and source.train.labels.tolist() == list(range(10))
    assert source.train.images[0, 0, 0, :3].tolist() == [255, 0, 255]
    (tmp_path / "usps.bz2").write_bytes(b"damaged")
    with pytest.raises(ConvatlasError, match="damaged or altered"):
        opened("usps", tmp_path)


@pytest.mark.parametrize("name", sorted(named.NAMED))
def test_npz_by_name(tmp_path, name):
    labels = np.arange(len(named.NAMED[name].classes))
    np.savez(tmp_path / f"{name}.npz", x_train=np.zeros((len(labels), 4, 4), np.uint8), y_train=labels,
             x_test=np.zeros((2, 4, 4), np.uint8), y_test=labels[:2])
    source = opened(name, tmp_path)
    assert source.name == name and source.classes == named.NAMED[name].classes and len(source.val) == 2


def cifar_file(path, count, label_bytes, first=0):
    rows = np.zeros((count, label_bytes + 3072), np.uint8)
    rows[:, label_bytes - 1] = (np.arange(count) + first) % 10
    rows[:, label_bytes] = 200 + first      # the top left red pixel
    rows[:, -1] = 7                         # the bottom right blue one
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rows.tobytes())


@pytest.mark.parametrize("below", [".", "cifar-10-batches-bin"])
def test_cifar10_binary(tmp_path, monkeypatch, below):
    monkeypatch.setattr(named, "CIFAR_RECORDS", 10)
    for number, file in enumerate(named.BATCHES):
        cifar_file(tmp_path / below / file, 10, 1, first=number)
    source = opened("cifar10", tmp_path)
    assert (len(source.train), len(source.val)) == (50, 10) and source.classes[:2] == ("airplane", "automobile")
    picture = source.train.read(20)
    assert picture.shape == (3, 32, 32) and picture.int().sum() == 202 + 7
    assert picture[0, 0, 0] == 202 and picture[2, 31, 31] == 7
    assert source.train.labels[20] == 2
    path = tmp_path / below / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:3073 * 9])
    with pytest.raises(ConvatlasError, match=r"data_batch_3.* 30730 bytes are expected, 27657 were found"):
        opened("cifar10", tmp_path)


def test_cifar100_binary_takes_the_fine_label(tmp_path, monkeypatch):
    monkeypatch.setattr(named, "CIFAR_RECORDS", 10)
    cifar_file(tmp_path / "cifar-100-binary/train.bin", 50, 2, first=3)
    cifar_file(tmp_path / "cifar-100-binary/test.bin", 10, 2)
    source = opened("cifar100", tmp_path)
    assert len(source.train) == 50 and source.train.labels[0] == 3 and source.train.images[0, 0, 0, 0] == 203


def test_the_names_of_cifar100_are_a_hundred_in_order():
    names = named.NAMED["cifar100"].classes
    assert len(set(names)) == 100 and list(names) == sorted(names) and names[23] == "cloud" and names[99] == "worm"


def put_pickled_cifar(folder, entries):
    folder.mkdir()
    sums = {}
    for file, entry in entries.items():
        content = pickle.dumps(entry)
        (folder / file).write_bytes(content)
        sums[file] = hashlib.md5(content).hexdigest()
    return sums


def test_pickled_cifar_is_opened_only_when_its_checksums_are_the_published_ones(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    folder = tmp_path / "cifar-10-batches-py"
    put_pickled_cifar(folder, {**dict.fromkeys(files, Bomb()), "batches.meta": Bomb()})
    with pytest.raises(ConvatlasError, match="damaged or altered"):
        opened("cifar10", tmp_path)
    assert not (tmp_path / "executed").exists()

    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    entry = {"data": np.full((10, 3072), 9, np.uint8), "labels": list(range(10))}
    meta = {"label_names": list("abcdefghij")}
    sums = put_pickled_cifar(folder, {**dict.fromkeys(files, entry), "batches.meta": meta})
    monkeypatch.setattr(CIFAR10, "train_list", [[file, sums[file]] for file in files[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [[files[5], sums[files[5]]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    source = opened("cifar10", tmp_path)
    assert source.train.images.shape == (50, 3, 32, 32) and source.val.labels.tolist() == list(range(10))


def put_svhn(folder, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    sums = {}
    for part in ("train", "test"):
        path = folder / f"{part}_32x32.mat"
        pixels = np.zeros((32, 32, 3, 10), np.uint8)
        pixels[4, 5, 1] = 99
        savemat(path, {"X": pixels, "y": np.arange(1, 11)[:, None]})
        sums[part] = ["http://nowhere.invalid", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", sums)


def test_svhn(tmp_path, monkeypatch):
    pytest.importorskip("scipy")
    put_svhn(tmp_path, monkeypatch)
    source = opened("svhn", tmp_path)
    assert source.train.labels.tolist() == [*range(1, 10), 0] and source.train.images.shape == (10, 3, 32, 32)
    assert source.train.images[0, 1, 4, 5] == 99


class _NoScipy:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "scipy":
            raise ModuleNotFoundError(f"No module named {name!r}", name="scipy")


@pytest.mark.parametrize("name", sorted(named.NAMED))
def test_absent_files_are_named_and_nothing_is_fetched(tmp_path, name):
    for data_dir in (str(tmp_path), str(tmp_path / "absent"), None):
        with pytest.raises(ConvatlasError) as caught:
            open_data(Data(source=name, data_dir=data_dir))
        text, looked = str(caught.value), data_dir or str(tmp_path / "cache" / "convatlas")
        assert "--download" in text and "--data-dir" in text and looked in text
        assert named.NAMED[name].layouts[0].files[0] in text
    assert not (tmp_path / "cache").exists()


def test_download_goes_through_torchvision_and_is_then_read(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "download", lambda self: put_idx(tmp_path / "MNIST" / "raw"))
    assert len(opened("mnist", tmp_path, download=True).train) == 20
    monkeypatch.setattr(MNIST, "download", lambda self: pytest.fail("it is there already"))
    assert len(opened("mnist", tmp_path, download=True).train) == 20


def test_a_download_that_fails_is_one_sentence(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    def fail(self):
        raise RuntimeError("Error downloading\nTried two mirrors")

    monkeypatch.setattr(MNIST, "download", fail)
    with pytest.raises(ConvatlasError, match=r"could not be downloaded.*Tried two mirrors.*--data-dir") as caught:
        opened("mnist", tmp_path, download=True)
    assert "\n" not in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize(("name", "train", "val", "shape"), [
    ("mnist", 60_000, 10_000, (1, 28, 28)),
    ("fashion-mnist", 60_000, 10_000, (1, 28, 28)),
    ("usps", 7_291, 2_007, (1, 16, 16)),
])
def test_the_real_ones(data_dir, name, train, val, shape):
    source = opened(name, data_dir)
    assert (len(source.train), len(source.val), tuple(source.train.read(0).shape)) == (train, val, shape)
    assert torch.bincount(source.train.labels).min() > 500 and source.train.images.max() == 255
