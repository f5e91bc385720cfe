"""What an evaluation says of scores, and that scores are kept only where they are asked for."""

from dataclasses import fields

import engine_toys
import pytest
import torch

from convatlas import run
from convatlas.engine.distributed import World
from convatlas.engine.evaluate import evaluate, judge

HERE = World(0, 1, torch.device("cpu"))
PICTURES = engine_toys.Pictures(37, seed=2)


def measured(keep_scores=False):
    model = engine_toys.network("noisy").train()
    found = evaluate(model, engine_toys.Loader(PICTURES, 16), run.Loss(), HERE, engine_toys.CLASSES, keep_scores=keep_scores)
    assert model.training       # as it was
    return found


def test_figures_are_those_of_the_scores():
    model = engine_toys.network("noisy").eval()
    with torch.inference_mode():
        scores = torch.cat([model(PICTURES.pixels[i : i + 16]) for i in (0, 16, 32)])
    found = measured(keep_scores=True)
    assert torch.equal(found.scores, scores) and torch.equal(found.labels, PICTURES.labels)
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(scores, PICTURES.labels).item(), rel=1e-6)
    right = scores.argmax(1) == PICTURES.labels
    assert found.top1 == right.sum().item() / 37 and torch.equal(found.right, right)
    torch.testing.assert_close(found.confidence, scores.softmax(1).amax(1))
    assert found.confusion.sum() == 37 and found.confusion.diagonal().sum() == right.sum()
    assert measured().scores is None


def test_scores_that_are_there_are_judged_alike():
    found = measured(keep_scores=True)
    order = torch.randperm(37)
    again = judge(found.scores[order], found.labels[order], found.indices[order], run.Loss(), skipped=2, seconds=1.0)
    for field in fields(found):
        a, b = getattr(found, field.name), getattr(again, field.name)
        if field.name in ("skipped", "images_per_second"):
            assert b == {"skipped": 2, "images_per_second": 37.0}[field.name]
        elif isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b)
        else:
            assert a == pytest.approx(b)
