"""LeCun's networks against explicit computation."""

import logging

import pytest
import torch

import convatlas
from convatlas.arch import lenet5, zipcode
from convatlas.parts import RBF, LocalConv2d, Subsample2d, TableConv2d


def test_table_i_has_the_papers_kinds_of_rows():
    def contiguous(row):        # on the ring of six maps
        return any(set(row) == {(start + i) % 6 for i in range(len(row))} for start in range(6))

    rows = lenet5.TABLE_I
    assert [len(row) for row in rows] == [3] * 6 + [4] * 9 + [6]
    assert all(map(contiguous, rows[:12])) and not any(map(contiguous, rows[12:15]))
    assert all(sum(j in row for row in rows) == 10 for j in range(6))       # each S2 map feeds ten C3 maps


def test_zipcode_maps_of_h2_read_eight_of_twelve():
    assert all(len(set(row)) == 8 for row in zipcode.H2_READS)
    assert {j for row in zipcode.H2_READS for j in row} == set(range(12))


def test_lenet5_equals_its_formulas():
    """The whole network written out again from the paper, with loops, in float64."""
    model = convatlas.create_model("lenet5").double().eval()
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    p = dict(model.named_parameters())

    def squash(a):
        return 1.7159 * torch.tanh(2 / 3 * a)

    def subsample(x, w, b):
        return torch.stack([(x[:, :, 0::2, 0::2] + x[:, :, 0::2, 1::2] + x[:, :, 1::2, 0::2]
                             + x[:, :, 1::2, 1::2])[:, c] * w[c, 0, 0] + b[c, 0, 0] for c in range(x.shape[1])], dim=1)

    c1 = squash(torch.nn.functional.conv2d(x, p["stages.0.c1.weight"], p["stages.0.c1.bias"]))
    s2 = squash(subsample(c1, p["stages.1.s2.weight"], p["stages.1.s2.bias"]))
    kernels, maps = iter(p["stages.1.c3.weight"]), []
    for i, row in enumerate(lenet5.TABLE_I):
        total = p["stages.1.c3.bias"][i]
        for j in row:
            total = total + torch.nn.functional.conv2d(s2[:, j:j + 1], next(kernels)[None, None])[:, 0]
        maps.append(total)
    c3 = squash(torch.stack(maps, dim=1))
    s4 = squash(subsample(c3, p["stages.2.s4.weight"], p["stages.2.s4.bias"]))
    c5 = squash(torch.einsum("nchw,ochw->no", s4, p["stages.2.c5.weight"]) + p["stages.2.c5.bias"])
    f6 = squash(c5 @ p["head.hidden.f6.weight"].T + p["head.hidden.f6.bias"])
    distances = torch.stack([((f6 - code) ** 2).sum(1) for code in lenet5.bitmaps().double()], dim=1)
    torch.testing.assert_close(model(x), -distances, rtol=1e-12, atol=1e-12)


def test_the_bitmaps_are_ten_different_pictures():
    codes = lenet5.bitmaps()
    assert codes.shape == (10, 84) and codes.abs().eq(1).all()
    distance = torch.cdist(codes, codes, p=1) / 2       # pixels that differ
    assert distance[~torch.eye(10, dtype=torch.bool)].min() >= 4


def test_other_than_ten_classes_get_seeded_codes_and_say_so(caplog):
    with caplog.at_level(logging.WARNING, logger="convatlas"):
        first, second = (convatlas.create_model("lenet5", num_classes=26).head.classifier.centres for _ in range(2))
    assert torch.equal(first, second) and first.shape == (26, 84) and first.abs().eq(1).all()
    assert "26 classes" in caplog.text


def test_the_centres_are_no_parameters():
    model = convatlas.create_model("lenet5")
    assert "head.classifier.centres" in model.state_dict()
    assert not any("centres" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("border", [0.0, -1.0])
def test_shared_kernels_with_unit_biases_equal_a_loop(border):
    table = ((0, 2), (1,), (0, 1, 2))
    part = TableConv2d(3, table, 5, 2, 2, border=border, units=(4, 4)).double()
    torch.nn.init.normal_(part.bias)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    padded = torch.full((2, 3, 12, 12), border, dtype=torch.float64)
    padded[:, :, 2:10, 2:10] = x
    expected = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    for i, row in enumerate(table):
        for y in range(4):
            for z in range(4):
                expected[:, i, y, z] = part.bias[i, y, z]
                for j in row:
                    link = sum(map(len, table[:i])) + row.index(j)
                    expected[:, i, y, z] += (padded[:, j, 2 * y:2 * y + 5, 2 * z:2 * z + 5]
                                             * part.weight[link]).sum((1, 2))
    torch.testing.assert_close(part(x), expected)


def test_unshared_windows_equal_a_loop():
    part = LocalConv2d(2, 3, 5, 2, 2, (4, 4), border=-1.0).double()
    torch.nn.init.normal_(part.bias)
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    padded = torch.full((2, 2, 12, 12), -1.0, dtype=torch.float64)
    padded[:, :, 2:10, 2:10] = x
    expected = torch.empty(2, 3, 4, 4, dtype=torch.float64)
    for c in range(3):
        for y in range(4):
            for z in range(4):
                window = padded[:, :, 2 * y:2 * y + 5, 2 * z:2 * z + 5].reshape(2, -1)
                expected[:, c, y, z] = window @ part.weight[c, 4 * y + z] + part.bias[c, y, z]
    torch.testing.assert_close(part(x), expected)


def test_absent_links_stay_absent_after_training():
    """There is no weight for them, so nothing can grow: a changed map that is not read changes nothing."""
    part = TableConv2d(6, lenet5.TABLE_I, 5)
    optimizer = torch.optim.SGD(part.parameters(), lr=0.1)
    part(torch.randn(2, 6, 14, 14)).square().sum().backward()
    optimizer.step()
    x = torch.randn(1, 6, 14, 14)
    changed = x.clone()
    changed[:, 3:] += 1
    before, after = part(x), part(changed)
    assert torch.equal(before[:, 0], after[:, 0])       # C3's first map reads maps 0 to 2
    assert not torch.equal(before[:, 15], after[:, 15])


def test_subsample_is_sum_times_coefficient_plus_bias():
    part = Subsample2d(2)
    part.weight.data[:] = torch.tensor([0.5, -2.0]).view(2, 1, 1)
    part.bias.data[:] = torch.tensor([1.0, 0.0]).view(2, 1, 1)
    x = torch.arange(8.0).view(1, 2, 2, 2)
    assert part(x).flatten().tolist() == [0.5 * 6 + 1, -2.0 * 22]


def test_rbf_is_minus_the_squared_distance():
    part = RBF(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    assert part(torch.tensor([[1.0, 0.5]])).tolist() == [[-2.25, -0.25]]


@pytest.mark.parametrize("name", ["lecun1989_net2", "lecun1989_net5", "lecun1989_zipcode", "lenet5"])
def test_weights_start_uniform_within_2_4_over_fan_in(name):
    """Moments: parity cannot see an initialisation."""
    fan = {"conv": None, "c1": 25, "c5": 400, "f6": 120, "h3": 192}
    for part_name, module in convatlas.create_model(name).named_modules():
        weight = getattr(module, "weight", None)
        fan_in = fan.get(part_name.rpartition(".")[2])
        if weight is None or fan_in is None or isinstance(module, Subsample2d):
            continue
        bound = 2.4 / fan_in
        assert weight.abs().max() <= bound and weight.abs().max() > 0.9 * bound, part_name
        assert abs(weight.std().item() - bound / 3**0.5) < 0.15 * bound, part_name
        assert module.bias.abs().max() == 0


def test_lenet5_takes_larger_images():
    model = convatlas.create_model("lenet5").eval()
    assert model(torch.randn(1, 1, 48, 40)).shape == (1, 10)
