import copy

import pytest
import torch
from torch import nn

from convatlas import run
from convatlas.engine.freeze import Freezing, freeze, keep_still
from convatlas.engine.optim import optimizer
from convatlas.errors import ConvatlasError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(11)])
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3)))


def network():
    torch.manual_seed(0)
    return Net()


def moving(net):
    return {name for name, parameter in net.named_parameters() if parameter.requires_grad}


def names(net, *starts):
    return [name for name, _ in net.named_parameters() if name.startswith(starts)]


def test_a_modules_name_stands_for_all_in_it_and_no_more():
    net = network()
    assert freeze(net, ["stages.1", "stem.0.weight"]) == ["stem.0.weight", *names(net, "stages.1.")]     # not stages.10
    assert moving(net) == {name for name, _ in net.named_parameters()} - {"stem.0.weight", *names(net, "stages.1.")}


def test_wildcards():
    net = network()
    assert freeze(net, ["stages.[2-4]", "*.bias"]) == [
        name for name, _ in net.named_parameters()
        if name.endswith(".bias") or name.startswith(("stages.2.", "stages.3.", "stages.4."))
    ]


def test_a_pattern_without_a_match_names_the_nearest():
    with pytest.raises(ConvatlasError, match=r"train.freeze: no parameter of the network is named 'stages.12'; did you "
                       r"mean 'stages.2'"):
        freeze(network(), ["stem", "stages.12"])
    with pytest.raises(ConvatlasError, match=r"train.unfreeze: .* 'xyz'; there are stem, stages, head"):
        Freezing(network(), run.Train(unfreeze=((1, "xyz"),)))


def test_thawing_epoch_by_epoch():
    net = network()
    freezing = Freezing(net, run.Train(freeze=("stem", "stages"), unfreeze=((2, "stages.1*"), (3.5, "stages.0"))))
    assert freezing.moving == {*names(net, "stages.1", "stages.0.", "head")}
    assert freezing.at(0) == freezing.at(1.9) == [] and moving(net) == {*names(net, "head")}
    assert freezing.at(2) == names(net, "stages.1") and freezing.at(3) == []
    assert freezing.at(4) == names(net, "stages.0.") and moving(net) == freezing.moving
    freezing.at(2)                                                          # of the epoch alone, whatever came before
    assert moving(net) == {*names(net, "stages.1", "head")}


def test_what_the_network_holds_fixed_stays_fixed():
    net = network()
    net.stem[0].weight.requires_grad_(False)
    freezing = Freezing(net, run.Train(freeze=("stem",), unfreeze=((1, "stem"),)))
    freezing.at(5)
    assert "stem.0.weight" not in freezing.moving | moving(net) and "stem.0.bias" in moving(net)


@pytest.mark.parametrize("name", ["sgd", "sgd_caffe", "adamw", "rmsprop", "rmsprop_tf"])
def test_frozen_layers_neither_drift_nor_count_and_resuming_is_exact(name):
    settings = run.Train(freeze=("stem", "stages"), unfreeze=((2, "stages.0"),))

    def start():
        net = network()
        freezing = Freezing(net, settings)
        return net, freezing, optimizer(net, run.Optim(name=name, weight_decay=0.1, lr=0.01), freezing.moving)

    def epoch(number, net, freezing, optim):
        freezing.at(number)
        net.train()
        keep_still(net)
        images = torch.randn(3, 4, 1, 6, 6, generator=torch.Generator().manual_seed(number))
        for batch in images:
            optim.zero_grad(set_to_none=True)
            net(batch).square().sum().backward()
            optim.step()

    net, freezing, optim = start()
    before = copy.deepcopy(net.state_dict())
    epoch(0, net, freezing, optim)
    epoch(1, net, freezing, optim)
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head.weight", "head.bias"}
    assert len(optim.state) == 2

    again, freezing_again, optim_again = start()
    again.load_state_dict(copy.deepcopy(net.state_dict()))
    optim_again.load_state_dict(copy.deepcopy(optim.state_dict()))
    for number in (2, 3):
        epoch(number, net, freezing, optim)
        epoch(number, again, freezing_again, optim_again)
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head.weight", "head.bias", *(key for key in before if key.startswith("stages.0."))}
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in net.state_dict().items())


def test_only_frozen_parts_stand_still():
    net = network()
    net.stem.append(nn.Dropout())
    net.stages[0].append(nn.Dropout())
    freeze(net, ["stem", "stages.0.0"])
    net.train()
    keep_still(net)
    assert not any(module.training for module in net.stem.modules()) and net.training
    assert [module.training for module in net.stages[0]] == [False, True, True]
