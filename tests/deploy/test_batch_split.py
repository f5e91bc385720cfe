"""Batches cut into parts give the scores of the whole."""

import json
import time
from functools import partial

import numpy as np
import pytest
import torch

import convatlas
from convatlas.deploy.backends import backend_of
from convatlas.deploy.backends.split import FILE, tune, tuned, ways
from parity import randomized


@pytest.mark.parametrize(("batch", "threads", "found"), [
    (1, 2, [1]), (2, 2, [2]), (4, 2, [4, 2, 1]), (16, 2, [16, 8, 4, 1]), (5, 2, [5]), (16, 1, [16]),
    (12, 4, [12, 3, 1])])
def test_which_batches_can_be_cut(batch, threads, found):
    assert ways(batch, threads) == found


def test_the_fastest_way_is_kept_for_so_many_threads(tmp_path):
    images = np.zeros((4, 1), np.float32)
    tune(lambda part: lambda x: time.sleep(0 if part == 2 else 0.05) or x, images, 2, tmp_path)
    assert tuned(tmp_path, 2) == {4: 2} and tuned(tmp_path, 4) == {} and tuned(tmp_path / "none", 2) == {}
    tune(lambda part: lambda x: x, images[:1], 2, tmp_path)         # written anew, for one image
    assert tuned(tmp_path, 2) == {}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_each_image_keeps_its_scores(engine, tmp_path):
    backend = backend_of(engine)
    if backend.missing():
        pytest.skip(backend.missing())
    model = randomized(convatlas.create_model("lenet5"))
    x = torch.randn(8, 1, 32, 32)
    with torch.inference_mode():
        expected = model(x)
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-5 * expected.abs().max().item())
    torch.set_num_threads(2)
    try:
        backend.write(model, x, "fp32", tmp_path)
        assert tuned(tmp_path, 2)[8] in (8, 4, 1)
        for part in (8, 4, 1):
            (tmp_path / FILE).write_text(json.dumps({"batch": 8, "threads": 2, "part": part}))
            scores = backend.open(tmp_path, x, "fp32")
            for count in (8, 5, 1, 8):      # those that can be shared equally, and others
                close(scores(x[:count]), expected[:count])
            kept, _ = scores(x), scores(-x)
            close(kept, expected)           # a later call leaves it alone
    finally:
        torch.set_num_threads(1)
