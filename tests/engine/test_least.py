"""Batches that a network with BatchNorm over 1×1 maps can learn from."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convatlas
from convatlas import ConvatlasError, Run
from convatlas.arch.lenet5 import LeNet5
from convatlas.data import Files, Loader, Tensors, make_transform
from convatlas.data.loader import sizes
from convatlas.engine.distributed import World
from convatlas.engine.least import check_batch, least_batch, least_part
from convatlas.engine.losses import per_image
from convatlas.engine.step import Step
from convatlas.engine.watch import Silent
from convatlas.net.model import AuxHead, Convnet, pooled
from convatlas.run import Preprocess, Train

HERE = World(0, 1, torch.device("cpu"))


def network(side=7, aux=0):
    """One 1×1 map with BatchNorm for images of 7×7; of its side classifier for kernels of `aux`."""
    stages = [nn.Sequential(nn.Conv2d(1, 4, 7), nn.BatchNorm2d(4), nn.ReLU())]
    heads = {}
    if aux:
        stages = [nn.Conv2d(1, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))]
        hidden = nn.Sequential(nn.Conv2d(4, 4, aux), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        heads = {"first": AuxHead(0, hidden, 4, 3)}
    return Convnet(LeNet5(image_size=side), None, stages, pooled(4, 3), aux=heads, aux_weight=0.3)


def dropped():
    net = network()
    net.stages.append(nn.Dropout(0.5))
    return net


@pytest.mark.parametrize(("net", "least"), [(network(), 2), (network(8), 1), (network(aux=5), 2), (network(aux=3), 1),
                                            (dropped(), 2), (nn.BatchNorm1d(3), 1)])
def test_two_images_are_needed_where_one_has_no_variance(net, least):
    net.eval()
    net.requires_grad_(True)
    before, dice = {name: tensor.clone() for name, tensor in net.state_dict().items()}, torch.get_rng_state()
    assert least_part(net, Train()) == least
    assert torch.equal(dice, torch.get_rng_state()) and not any(module.training for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    if isinstance(net, Convnet):
        net.train()
        for count in (1, 2):
            images = torch.randn(count, 1, *net.image_size)
            if count < least:
                with pytest.raises(ValueError, match="more than 1 value per channel"):
                    net.forward_aux(images)
            else:
                net.forward_aux(images)


def test_batchnorm_that_stays_frozen_needs_one():
    assert least_part(network(), Train(freeze=("stages.0",))) == 1
    assert least_part(network(), Train(freeze=("stages.0",), unfreeze=((1.0, "stages.0.1"),))) == 2
    assert least_part(network(), Train(freeze=("stages.0.0",))) == 2
    assert least_part(network(), Train(sync_bn=True), 2) == 1


@pytest.mark.parametrize(("run", "processes", "said"), [
    (Run().change("data.batch_size", 1), 1, "data.batch_size = 1 leaves one: set --batch-size 2 or more;"),
    (Run().change("data.batch_size", 16, "train.accumulate", 16), 1,
     "data.batch_size = 16 over train.accumulate = 16 parts leaves one: set --batch-size 32 or more, or fewer parts"),
    (Run().change("data.batch_size", 3), 2, "data.batch_size = 3 over 2 processes leaves one: set --batch-size 4"),
])
def test_settings_that_leave_one_image_are_refused(run, processes, said):
    here = World(0, processes, torch.device("cpu"))
    with pytest.raises(ConvatlasError) as error:
        check_batch(network(), run, here)
    assert said in str(error.value) and "at least two images at once in training on 7×7 pixels" in str(error.value)
    check_batch(network(8), run, here)
    check_batch(network(), run.change("data.batch_size", 32), here)


def test_a_last_batch_that_is_too_small_is_joined_and_told():
    told, run = [], Run().change("data.batch_size", 16)
    two = World(0, 2, torch.device("cpu"))
    assert least_batch(network(8), run, 17, HERE, told.append) == 1 and not told
    assert least_batch(network(), run, 18, HERE, told.append) == 2 and not told
    assert least_batch(network(), run, 17, HERE, told.append) == 2
    assert told.pop().startswith("The last batch of each epoch has 17 images instead of 16 and then 1, because")
    assert least_batch(network(), run, 19, two, told.append) == 4 and "19 images instead of 16 and then 3" in told[0]
    with pytest.raises(ConvatlasError, match="there are 3 to learn from, for 2 processes"):
        least_batch(network(), run, 3, two, told.append)
    assert sizes(17, 16) == [16, 1] and sizes(17, 16, 2) == [17] and sizes(34, 16, 2) == [16, 16, 2]
    assert sizes(3, 16, 4) == [3] and sizes(0, 16) == []


STILL = make_transform(Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0), 6, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_joins_it_and_every_share_has_two(workers):
    images = Tensors(torch.randint(0, 256, (19, 1, 8, 8), dtype=torch.uint8), torch.arange(19) % 3)
    whole = list(Loader(images, STILL, 8, shuffle=True, least=4).epoch(0))
    assert [batch.total for batch in whole] == [8, 11]
    shares = [list(Loader(images, STILL, 8, shuffle=True, least=4, rank=rank, world=2, workers=workers).epoch(0))
              for rank in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert min(len(first.indices), len(second.indices)) >= 2
        assert torch.equal(batch.indices, torch.cat([first.indices, second.indices]))
    assert Loader(images, STILL, 8, least=4).steps == 2 and Loader(images, STILL, 8).steps == 3


def test_unreadable_images_leave_fillers(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((8, 8), i, dtype=np.uint8)).save(path)
    paths[1].write_bytes(b"no picture")
    first, second = Loader(Files(paths, torch.arange(4)), STILL, 2, least=2).epoch(0)
    assert first.indices.tolist() == [0, -1] and first.images.shape == (2, 1, 6, 6) and not first.images[1].any()
    assert second.indices.tolist() == [2, 3]
    assert [len(batch.indices) for batch in Loader(Files(paths, torch.arange(4)), STILL, 2).epoch(0)] == [1, 2]


@pytest.mark.parametrize(("count", "parts"), [(8, [2, 2, 2, 2]), (7, [3, 2, 2]), (3, [3])])
def test_parts_of_a_batch_have_two_images(count, parts):
    net, found = network(), []
    run = Run().change("train.accumulate", 4, "data.batch_size", 8)
    step = Step(net, lambda model: torch.optim.SGD(model.parameters(), 0.1), run, per_image(run.loss, 3), 3, HERE,
                least_part(net, run.train))
    images = Tensors(torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8), torch.arange(count) % 3)
    step.network.register_forward_pre_hook(lambda _, args: found.append(len(args[0])))
    transform = make_transform(Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0), 7, 1)
    assert step(next(Loader(images, transform, 8).epoch(0)), 0, 0)
    assert found == parts


def test_a_run_ends_where_one_image_was_left_over(tmp_path):
    dice = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(11):
            pixels = dice.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    run = Run().change("model.name", "resnet20_cifar", "model.fields", {"image_size": 4}, "data.batch_size", 4,
                       "data.source", str(tmp_path / "data"), "train.epochs", 1, "train.device", "cpu")
    told = []

    class Notes(Silent):
        def tell(self, text):
            told.append(text)

    done = convatlas.train(run, out=tmp_path / "run", watch=Notes())
    count = sum(1 for _ in (tmp_path / "data").rglob("*.png")) - done.evaluation.count
    assert count % 4 == 1, "the test wants one image left over"
    assert done.outcome.epochs == 1 and done.outcome.best["step"] == count // 4
    assert any("has 5 images instead of 4 and then 1, because resnet20_cifar" in text for text in told)


def test_images_too_small_for_side_classifiers_are_refused_at_the_start():
    run = Run().change("model.name", "inception_v3")
    for side, fits in ((96, False), (106, False), (107, True)):
        with torch.device("meta"):
            model = convatlas.create_model("inception_v3", image_size=side)
        model.check_image_size()        # the network itself takes them
        if fits:
            check_batch(model, run, HERE)
            continue
        with pytest.raises(ConvatlasError, match=rf"{side}×{side} are too small for the side classifiers of "
                                                 r"inception_v3.* the least is 107×107"):
            check_batch(model, run, HERE)
    assert model.training and all(module.training for module in model.modules())
