"""What an evaluation says of scores, and that scores are kept only where they are asked for."""

from dataclasses import fields

import engine_toys
import pytest
import torch

from convatlas import run
from convatlas.engine.distributed import World
from convatlas.engine.evaluate import evaluate, evaluation_of
from convatlas.engine.memory import scored
from convatlas.errors import ConvatlasError

HERE = World(0, 1, torch.device("cpu"))
PICTURES = engine_toys.Pictures(37, seed=2)


def measured(keep_scores=False):
    model = engine_toys.network("noisy").train()
    found = evaluate(model, engine_toys.Loader(PICTURES, 16), run.Loss(), HERE, engine_toys.CLASSES,
                     keep_scores=keep_scores)
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
    again = evaluation_of(found.scores[order], found.labels[order], found.indices[order], run.Loss(),
                          skipped=2, seconds=1.0)
    for field in fields(found):
        a, b = getattr(found, field.name), getattr(again, field.name)
        if field.name in ("skipped", "images_per_second"):
            assert b == {"skipped": 2, "images_per_second": 37.0}[field.name]
        elif isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b)
        else:
            assert a == pytest.approx(b)


class Hungry(torch.nn.Module):
    """A network for which memory ends at so many images."""

    def __init__(self, most):
        super().__init__()
        self.net, self.most, self.seen = engine_toys.network("noisy"), most, []

    def forward(self, x):
        if len(x) > self.most:
            torch.empty(2**60)
        self.seen.append(len(x))
        return self.net(x)


def test_where_memory_ends_a_batch_is_measured_in_halves():
    whole, hungry = measured(keep_scores=True), Hungry(3)
    found = evaluate(hungry, engine_toys.Loader(PICTURES, 16), run.Loss(), HERE, engine_toys.CLASSES, keep_scores=True)
    assert hungry.seen == [2] * 16 + [3, 2]
    torch.testing.assert_close(found.scores, whole.scores)
    assert (found.top1, found.count) == (whole.top1, 37)
    with pytest.raises(ConvatlasError, match=r"memory ran out while images were measured.*--image-size"):
        evaluate(Hungry(0), engine_toys.Loader(PICTURES, 16), run.Loss(), HERE, engine_toys.CLASSES)
    with pytest.raises(ConvatlasError, match="memory ran out"):         # others would wait for its share
        scored(Hungry(3).eval(), PICTURES.pixels, World(0, 2, HERE.device))
