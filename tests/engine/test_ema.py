import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from convatlas.engine.ema import Average


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))


def started(net, decay, warmup=True):
    average = Average(net, decay, warmup)
    average.start()
    return average


def train(net, after, steps=8):
    optim = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(steps):
        optim.zero_grad()
        net(torch.randn(5, 1, 4, 4)).square().sum().backward()
        optim.step()
        after(step + 1)


@pytest.mark.parametrize("warmup", [True, False])
def test_the_recursion(warmup):
    net = network()
    average, expected = started(net, 0.5, warmup), {name: value.clone() for name, value in net.state_dict().items()}

    def after(done):
        decay = min(0.5, done / (9 + done)) if warmup else 0.5      # 0.1, 0.18, 0.25 … 0.5 from the ninth step on
        average.after_step(done)
        for name, value in net.state_dict().items():
            expected[name] = (decay * expected[name] + (1 - decay) * value if value.is_floating_point()
                              else value.clone())

    train(net, after)
    torch.testing.assert_close(average.tensors(), expected)
    assert average.tensors()["1.num_batches_tracked"] == 8
    assert not torch.equal(average.tensors()["1.running_var"], net[1].running_var)


def test_equals_torchs():
    net = network()
    average = started(net, 0.9, warmup=False)
    peer = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    peer.update_parameters(net)         # its first call copies

    def after(done):
        average.after_step(done)
        peer.update_parameters(net)

    train(net, after)
    for name, value in peer.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(average.tensors()[name], value), name


def test_a_swap_shows_the_averages_and_leaves_no_trace():
    net = network()
    average = started(net, 0.9)
    train(net, average.after_step)
    weights = {name: value.clone() for name, value in net.state_dict().items()}

    def evaluate():
        with average.validating():
            for name, value in net.state_dict().items():
                assert torch.equal(value, average.tensors()[name])
            assert not torch.equal(net[4].weight, weights["4.weight"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    for name, value in net.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_loaded_average_goes_on_as_if_nothing_had_been():
    net = network()
    average = started(net, 0.9)
    train(net, average.after_step, 3)
    resumed = Average(net, 0.9)
    resumed.load({name: value.clone() for name, value in average.tensors().items()})

    def after(done):
        average.after_step(3 + done)
        resumed.after_step(3 + done)

    train(net, after, 3)
    assert all(torch.equal(value, resumed.tensors()[name]) for name, value in average.tensors().items())
