"""Picture files become tensors as they look, and a broken one becomes one sentence."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data import Files, Subset, Tensors, UnreadableImage, read_image, to_tensor
from convatlas.data.images import as_tensor
from convatlas.pixels import Decoding
from convatlas.pixels import decode as decoded
from convatlas.pixels.jpeg import plain as plain_size


def decode(content, least=None):
    return as_tensor(decoded(content, Decoding(least)).pixels)


def gradient(h=6, w=4):
    return np.arange(h * w * 3, dtype=np.uint8).reshape(h, w, 3) * 3


def test_colour_and_grey_keep_their_values(tmp_path):
    pixels = gradient()
    Image.fromarray(pixels).save(tmp_path / "c.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "g.png")
    color, gray = read_image(tmp_path / "c.png"), read_image(tmp_path / "g.png")
    assert color.dtype == torch.uint8 and torch.equal(color.permute(1, 2, 0), torch.from_numpy(pixels))
    assert gray.shape == (1, 6, 4) and torch.equal(gray[0], torch.from_numpy(pixels[:, :, 0].copy()))
    assert color.is_contiguous()


def test_sixteen_bits_scale_to_eight(tmp_path):
    values = np.array([[0, 257, 65535], [256, 514, 32768]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0].tolist() == [[0, 1, 255], [1, 2, 128]]


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_other_modes(tmp_path, mode, channels):
    Image.fromarray(gradient()).convert(mode).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (channels, 6, 4)


def test_cmyk_jpeg_is_rgb(tmp_path):
    Image.new("CMYK", (4, 6)).save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg").shape == (3, 6, 4)


def test_exif_orientation_is_respected(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6        # the camera was turned: show rotated by 90° clockwise
    Image.fromarray(gradient()).save(tmp_path / "x.png", exif=exif)
    upright = torch.from_numpy(gradient()).permute(2, 0, 1).rot90(-1, (1, 2))
    assert torch.equal(read_image(tmp_path / "x.png"), upright)


@pytest.mark.parametrize("kind", ["text", "empty", "truncated png", "truncated jpeg", "absent", "float tiff"])
def test_unreadable_files_are_named(tmp_path, kind):
    path = tmp_path / "broken.png"
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), dtype=np.uint8)
    if kind == "text":
        path.write_text("no picture")
    elif kind == "empty":
        path.touch()
    elif kind.startswith("truncated"):
        Image.fromarray(noise).save(path, format=kind.split()[1].upper())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "float tiff":
        Image.fromarray(noise[:, :, 0].astype(np.float32)).save(path, format="TIFF")
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text


def test_a_decompression_bomb_is_refused(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)     # 3.6 · 10⁹ pixels in a few bytes
    path = tmp_path / "bomb.png"
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        read_image(path)


FDS = Path("/proc/self/fd")


@pytest.mark.skipif(not FDS.is_dir(), reason="counts open files in /proc")
def test_no_file_stays_open(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:45])
    before = len(list(FDS.iterdir()))
    for _ in range(20):
        read_image(tmp_path / "good.png")
        with pytest.raises(UnreadableImage):
            read_image(tmp_path / "bad.png")
    assert len(list(FDS.iterdir())) == before


def test_sets_name_and_number_their_pictures(tmp_path):
    images = torch.arange(3 * 4, dtype=torch.uint8).view(3, 1, 2, 2)
    whole = Tensors(images, torch.tensor([5, 6, 7]), "toy")
    part = Subset(Subset(whole, torch.tensor([2, 0])), torch.tensor([1, 0]))
    assert len(part) == 2 and part.labels.tolist() == [5, 7]
    assert part.name(1) == "toy[2]" and torch.equal(part.read(1), images[2])
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    files = Files([tmp_path / "a.png"], torch.tensor([1]))
    assert files.name(0) == str(tmp_path / "a.png") and files.read(0).shape == (3, 6, 4)


def test_tensors_refuse_what_is_no_picture():
    with pytest.raises(ValueError, match="uint8"):
        Tensors(torch.zeros(2, 1, 4, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="labels"):
        Tensors(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpegs_are_as_pillow_shows_them(tmp_path, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    y, x = np.mgrid[:60, :77]
    Image.fromarray(np.stack([x * 3, y * 4, 255 - x - y], -1).astype(np.uint8)).convert(mode).save(
        tmp_path / "x.jpg", exif=exif)
    with Image.open(tmp_path / "x.jpg") as image:
        wanted = to_tensor(image)
    found = read_image(tmp_path / "x.jpg")
    assert found.shape == wanted.shape and (found.int() - wanted.int()).abs().max() <= 2


def jpeg(mode="RGB", size=(77, 60), **options):
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([x * 3, y * 4, 255 - x - y], -1).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format="JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"comment": b"by hand"},
                                     {"subsampling": 0}, {"quality": 5}])
def test_a_plain_jpeg_needs_no_pillow(monkeypatch, options):
    content = jpeg(**options)
    with Image.open(BytesIO(content)) as image:
        assert plain_size(content)[:2] == image.size == (77, 60)
        wanted = to_tensor(image)
    monkeypatch.setattr(Image, "open", None)
    found = decode(content)
    assert found.shape == wanted.shape and (found.int() - wanted.int()).abs().max() <= 2


def test_what_there_is_to_judge_is_left_to_pillow():
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = jpeg()
    late = plain.index(b"\xff\xda")       # EXIF may also come last
    extra = b"\xff\xe1" + (10).to_bytes(2, "big") + b"Exif\0\0.."
    others = [jpeg(exif=exif), jpeg(icc_profile=b"profile"), jpeg("CMYK"), b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n",
              plain[:100], plain[:late] + extra + plain[late:]]
    assert [plain_size(content) for content in others] == [None] * len(others)
    sizes = plain.index(b"\xff\xc0") + 5
    with pytest.raises(UnreadableImage, match=r"65535×65535 pixels, and .* are decoded at most"):
        decode(plain[:sizes] + b"\xff\xff\xff\xff" + plain[sizes + 4 :])
    assert decode(jpeg(exif=exif)).shape == (3, 77, 60)


def test_large_jpegs_are_scaled_by_pillow_as_before():
    content = jpeg(size=(400, 300))
    assert decode(content, least=75).shape == (3, 150, 200)
    assert decode(content, least=76).shape == (3, 300, 400)
