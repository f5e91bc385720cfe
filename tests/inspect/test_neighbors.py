"""Neighbours: every vector compared, against sums in double precision; the index on disk as pictures come, change, go
and break.
"""

import json
import os

import numpy as np
import pytest
import torch
from drawn import assert_readable, words
from PIL import Image

from convatlas import ConvatlasError, create_model, save, transforms
from convatlas.data import Files
from convatlas.inspect import nearest as searching
from convatlas.inspect.nearest import Vectors, nearest
from convatlas.inspect.neighbors import draw, neighbors
from convatlas.inspect.vectors import Changes, Index, embed


def stored(path, vectors):
    path.write_bytes(np.asarray(vectors, np.float32).tobytes())
    return Vectors(path, *vectors.shape)


def by_hand(queries, vectors, k, metric):
    """Distances (Q, k) and numbers, one pair after the other in double precision."""
    rows = []
    for query in queries.double():
        apart = [(1 - float(query @ x / query.norm() / x.norm()) if metric == "cosine" else float((query - x).norm()),
                  i) for i, x in enumerate(vectors.double())]
        rows.append(sorted(apart)[:k])
    return torch.tensor([[d for d, _ in row] for row in rows]), torch.tensor([[i for _, i in row] for row in rows])


def engines():
    return ["exact", pytest.param("faiss", marks=pytest.mark.skipif(not _faiss(), reason="needs faiss"))]


def _faiss():
    try:
        import faiss
    except ImportError:
        return False
    return bool(faiss.__version__)


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [2**25, 600])         # floats: all at once, and 40 vectors at a time
def test_nearest_is_what_comparing_every_pair_finds(tmp_path, monkeypatch, metric, block, engine):
    monkeypatch.setattr(searching, "BLOCK", block)
    # far from zero: products are large, differences small
    vectors, queries = torch.rand(301, 12) + 3, torch.rand(3, 12) + 3
    vectors[170] = vectors[9] = queries[1] * 1.0001                             # two equal ones, in blocks of their own
    distances, numbers = nearest(queries, stored(tmp_path / "v.f32", vectors), 7, metric, engine)
    expected, which = by_hand(queries, vectors, 7, metric)
    assert torch.equal(numbers, which) and numbers[1, :2].tolist() == [9, 170]
    torch.testing.assert_close(distances, expected.float(), atol=1e-6, rtol=1e-5)


def test_fewer_vectors_than_are_asked_for_and_none(tmp_path):
    few = stored(tmp_path / "few.f32", torch.eye(3))
    assert nearest(torch.eye(3)[:1], few, 9)[1].tolist() == [[0, 1, 2]]
    with pytest.raises(ConvatlasError, match="the index is empty"):
        nearest(torch.eye(3), Vectors(tmp_path / "few.f32", 0, 3), 1)


def test_without_faiss_it_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConvatlasError, match=r"uv pip install -e '.\[neighbours\]'"):
        nearest(torch.eye(3), stored(tmp_path / "v.f32", torch.eye(3)), 1, engine="faiss")


# -- the index -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("lenet1").eval()


@pytest.fixture
def photos(tmp_path):
    """Pictures of mixed sizes and modes in two folders; one of them is broken."""
    dice, folder = np.random.default_rng(0), tmp_path / "photos"
    for i, mode in enumerate(("L", "RGB", "RGBA", "P", "LA", "1")):
        path = folder / "ab"[i % 2] / f"{i}-{mode}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dice.integers(0, 256, (20 + 5 * i, 40 - 3 * i, 3), dtype=np.uint8)).convert(mode).save(path)
    (folder / "a" / "broken.png").write_bytes(b"no picture")
    return folder


def opened(folder):
    paths = sorted(folder.rglob("*.png"))
    return Files(paths, torch.zeros(len(paths)))


def expected(model, folder):
    """Name → vector, one picture at a time."""
    return {str(path): embed(model, transforms(model)(Files([path], torch.zeros(1)).read(0))[None])[0]
            for path in sorted(folder.rglob("*.png")) if path.stem != "broken"}


def holds(index, vectors):
    found = dict(zip(index.names(range(index.vectors.count)),
                     index.vectors.chosen(torch.arange(index.vectors.count)), strict=True))
    assert found.keys() == vectors.keys()
    for name, vector in found.items():
        torch.testing.assert_close(vector, vectors[name])


def test_an_index_follows_its_pictures(model, photos, tmp_path):
    def update():
        index = Index(tmp_path / "index", model, transforms(model))
        changes = index.update(opened(photos), batch_size=4)
        holds(index, expected(model, photos))
        return changes

    assert update() == Changes(kept=0, added=6, dropped=0, skipped=1)
    assert update() == Changes(kept=6, added=0, dropped=0, skipped=1)
    Image.new("RGB", (30, 30), (90, 20, 200)).save(photos / "b" / "new.png")
    (photos / "a" / "0-L.png").unlink()
    Image.new("L", (33, 30), 77).save(photos / "b" / "1-RGB.png")
    assert update() == Changes(kept=4, added=2, dropped=2, skipped=1)
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["index.json", "rows-1.jsonl",
                                                                            "vectors-1.f32"]


def test_only_what_is_new_runs_through_the_network(model, photos, tmp_path):
    seen = []
    hook = model.register_forward_pre_hook(lambda *_: None)
    stem = model.stages[0].register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    try:
        Index(tmp_path / "index", model, transforms(model)).update(opened(photos))
        seen.clear()
        Image.new("RGB", (30, 30)).save(photos / "new.png")
        Index(tmp_path / "index", model, transforms(model)).update(opened(photos))
    finally:
        hook.remove()
        stem.remove()
    assert seen == [1, 1]       # one image of zeros, for the vectors' width, and the new one


@pytest.mark.parametrize("cut", ["vector", "line", "half a vector", "half a line", "copy"])
def test_what_was_cut_short_is_mended(model, photos, tmp_path, cut):
    folder = tmp_path / "index"
    Index(folder, model, transforms(model)).update(opened(photos))
    vectors, rows = folder / "vectors-0.f32", folder / "rows-0.jsonl"
    lines, width = rows.read_bytes().splitlines(keepends=True), json.loads((folder / "index.json").read_text())["width"]
    if cut == "vector":                                     # killed between a batch's vectors and its lines
        rows.write_bytes(b"".join(lines[:4]))
    elif cut == "line":                                     # the disk kept the lines and not the vectors
        os.truncate(vectors, 4 * width * 3)
    elif cut == "half a vector":
        os.truncate(vectors, 4 * width * 3 + 10)
    elif cut == "half a line":
        rows.write_bytes(b"".join(lines[:5]) + lines[5][:7])
    else:
        (folder / "vectors-1.f32").write_bytes(b"begun")
    index = Index(folder, model, transforms(model))
    left = {"vector": 4, "line": 3, "half a vector": 3, "half a line": 5, "copy": 6}[cut]
    assert index.vectors.count == left and not (folder / "vectors-1.f32").exists()
    assert index.update(opened(photos)) == Changes(kept=left, added=6 - left, dropped=0, skipped=1)
    holds(index, expected(model, photos))


def test_folders_that_are_no_index_or_another_networks(model, photos, tmp_path):
    with pytest.raises(ConvatlasError, match="not empty and no index"):
        Index(photos, model, transforms(model))
    Index(tmp_path / "index", model, transforms(model)).update(opened(photos))
    torch.manual_seed(1)
    other = create_model("lenet1").eval()
    with pytest.raises(ConvatlasError, match=r"another network or preprocessing \(fingerprint"):
        Index(tmp_path / "index", other, transforms(other))
    (tmp_path / "index" / "index.json").write_text("{")
    with pytest.raises(ConvatlasError, match=r"index\.json cannot be read"):
        Index(tmp_path / "index", model, transforms(model))
    with pytest.raises(ConvatlasError, match="none of the 1 images can be read"):
        Index(tmp_path / "fresh", model, transforms(model)).update(Files([photos / "a" / "broken.png"], torch.zeros(1)))


# -- pictures beside their neighbours --------------------------------------------------------------------------------

@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_of_pictures(model, photos, metric):
    vectors = expected(model, photos)
    names = sorted(vectors)
    queries = Files([photos / "a" / "0-L.png", photos / "a" / "broken.png", photos / "b" / "3-P.png"], torch.zeros(3))
    result = neighbors(model, queries, opened(photos), transforms(model), k=3, metric=metric)
    # the broken one is left out
    assert result.names == (str(photos / "a" / "0-L.png"), str(photos / "b" / "3-P.png"))
    for name, row in zip(result.names, result.found, strict=True):
        others = [other for other in names if other != name]                # a picture is not its own neighbour
        distances, numbers = by_hand(vectors[name][None], torch.stack([vectors[other] for other in others]), 3, metric)
        assert [each.name for each in row] == [others[i] for i in numbers[0]]
        assert [each.distance for each in row] == pytest.approx(distances[0].tolist(), rel=1e-4)
    figure = draw(result, "What lenet1 takes for alike")
    assert_readable(figure)
    assert len(figure.axes) == 2 * (1 + 3)
    assert (any("nearest of 6 pictures" in text for text in words(figure))
            and {"a/0-L.png", "b/3-P.png"} <= set(words(figure)))


def test_a_folder_of_one_image(model, photos, tmp_path):
    single = Files([photos / "a" / "0-L.png"], torch.zeros(1))
    other = Files([photos / "b" / "1-RGB.png"], torch.zeros(1))
    result = neighbors(model, other, single, transforms(model))
    assert [[each.name for each in row] for row in result.found] == [[single.name(0)]]
    assert_readable(draw(result, "title"))
    with pytest.raises(ConvatlasError, match="no other picture to find than the query"):
        neighbors(model, single, single, transforms(model))
    with pytest.raises(ConvatlasError, match="k = 0"):
        neighbors(model, other, single, transforms(model), k=0)
    with pytest.raises(ConvatlasError, match="none of the query images"):
        neighbors(model, Files([photos / "a" / "broken.png"], torch.zeros(1)), single, transforms(model))


def test_the_command(model, photos, tmp_path, capsys):
    from convatlas.cli import main

    save(model, tmp_path / "net.safetensors")
    asked = ["inspect", "neighbours", str(tmp_path / "net.safetensors"), str(photos / "b"), "--among", str(photos),
             "-k", "2", "--index", str(tmp_path / "index"), "--out", str(tmp_path / "alike.svg"), "--json"]
    assert main(asked) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["searched"] == 6 and [len(query["neighbours"]) for query in found["queries"]] == [2, 2, 2]
    assert "broken.png" in told.err and "<svg" in (tmp_path / "alike.svg").read_text()
    assert main([*asked[:-1], "--metric", "cosine"]) == 0
    assert "6 images searched: 0 computed now, 6 known before" in capsys.readouterr().out
    assert main([*asked[:4], "--among", "digits", "--out", str(tmp_path / "alike.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["class"] for query in found["queries"] for each in query["neighbours"]} <= {str(i) for i in range(10)}
    with Image.open(tmp_path / "alike.png") as picture:
        assert min(picture.size) > 400
    (tmp_path / "one").mkdir()
    (photos / "a" / "0-L.png").rename(tmp_path / "one" / "0.png")
    assert main([*asked[:3], str(tmp_path / "one"), "--among", str(tmp_path / "one"),
                 "--out", str(tmp_path / "x.png")]) == 2
    assert "look among more pictures" in capsys.readouterr().err and not (tmp_path / "x.png").exists()
