"""LeNet-1 and LeNet-4 against their formulas, written out again with loops."""

import torch
import torch.nn.functional as F

import convatlas
from convatlas.arch import lenet1, lenet4


def squash(a):
    return 1.7159 * torch.tanh(2 / 3 * a)


def subsample(x, part):
    total = x[:, :, 0::2, 0::2] + x[:, :, 0::2, 1::2] + x[:, :, 1::2, 0::2] + x[:, :, 1::2, 1::2]
    return squash(torch.stack([total[:, c] * part.weight[c, 0, 0] + part.bias[c, 0, 0] for c in range(x.shape[1])],
                              dim=1))


def connect(x, table, part):
    kernels, maps = iter(part.weight.reshape(-1, 5, 5)), []
    for i, row in enumerate(table):
        maps.append(part.bias[i] + sum(F.conv2d(x[:, j:j + 1], next(kernels)[None, None])[:, 0] for j in row))
    return squash(torch.stack(maps, dim=1))


def linear(x, part):
    return squash(x.flatten(1) @ part.weight.T + part.bias)


def test_lenet1_equals_its_formulas():
    model = convatlas.create_model("lenet1").double().eval()
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    first, second, third = model.stages
    h2 = subsample(connect(x, [(0,)] * 4, first.h1), second.h2)
    h4 = subsample(connect(h2, lenet1.TABLE_1, second.h3), third.h4)
    torch.testing.assert_close(model(x), linear(h4, model.head.classifier), rtol=1e-9, atol=1e-12)


def test_table_1_makes_two_modules():
    table = lenet1.TABLE_1
    assert sum(map(len, table)) == 20
    assert all(set(row) <= {0, 1} for row in table[:6]) and all(set(row) <= {2, 3} for row in table[6:])
    assert [i for i, row in enumerate(table) if len(row) == 1] == [0, 3, 6, 9]


def test_lenet4_equals_its_formulas():
    model = convatlas.create_model("lenet4").double().eval()
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    first, second, third = model.stages
    c1 = connect(x, [(0,)] * 4, first.c1)
    s2 = subsample(torch.stack([c1[:, i // 2] for i in range(8)], dim=1), second.s2)
    s4 = subsample(connect(s2, lenet4.TABLE, second.c3), third.s4)
    expected = linear(linear(s4, model.head.hidden.f5), model.head.classifier)
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-12)


def test_lenet4_reads_every_map_equally_often():
    rows = lenet4.TABLE
    assert len(set(rows)) == 16 and all(len(set(row)) == 3 for row in rows)
    assert all(sum(j in row for row in rows) == 6 for j in range(8))


def test_weights_start_within_lecuns_bounds():
    torch.manual_seed(0)
    for name in ("lenet1", "lenet4"):
        model = convatlas.create_model(name)
        weight = model.head.classifier.weight
        bound = 2.4 / weight.shape[1]
        assert 0.95 * bound < weight.abs().max() <= bound and model.head.classifier.bias.eq(0).all()
