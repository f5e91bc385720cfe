"""The algebra against layers that torch counts, and MobileNet's tables against what was published."""

import json
import re

import pytest
import torch
from drawn import assert_readable, words
from torch import nn

import convatlas
from convatlas.cli.inspections.costs import costs as command
from convatlas.errors import ConvatlasError
from convatlas.facts.published import published
from convatlas.inspect.costs import TABLES, agrees, computed, draw, draw_stages, forms, tables
from convatlas.inspect.summary import summary
from convatlas.net.layers import layer_table


@pytest.mark.parametrize("given", [{}, {"kernel": 7, "cin": 64, "cout": 96, "size": 28, "groups": 4, "reduction": 3},
                                   {"kernel": 51, "cin": 32, "cout": 32, "size": 56}])
def test_formulas_say_what_is_counted(given):
    numbers = {"kernel": 3, "cin": 512, "cout": 512, "size": 14, "groups": 32, "reduction": 4, "strip": 5} | given
    symbols = {"D_K": numbers["kernel"], "M": numbers["cin"], "N": numbers["cout"],
               "B": numbers["cout"] // numbers["reduction"], "g": numbers["groups"], "s": numbers["strip"]}
    for form in forms(**given):
        text = re.sub(r"D_K|[MNBgs]", lambda found: str(symbols[found[0]]), form.formula)
        assert eval(text.replace("²", "**2").replace("·", "*").replace("−", "-")) == form.params, form.name


def test_layers_of_those_shapes_are_counted_alike():
    for form in forms(7, 64, 96, 12, groups=4, reduction=3):
        chain = [nn.Conv2d(c.cin, c.cout, (c.high, c.wide), padding="same", groups=c.groups, bias=False)
                 for c in form.layers]
        rows = [layer_table(conv, 12, conv.in_channels)[0] for conv in chain]
        assert (sum(row.params for row in rows), sum(row.macs for row in rows)) == (form.params, form.macs), form.name


def test_two_3x3_see_as_much_as_one_5x5_for_less():
    ways = {form.name: form.params for form in forms(5)}
    # Simonyan & Zisserman 2015; Szegedy et al. 2016
    assert ways["2 times 3×3"] / ways["standard"] == pytest.approx(18 / 25)
    assert ways["5×1, then 1×5"] / ways["standard"] == pytest.approx(10 / 25)


@pytest.mark.parametrize(("kernel", "cout"), [(3, 512), (3, 64), (5, 128), (31, 1024)])
def test_depthwise_separable_costs_one_nth_and_one_kernel_th(kernel, cout):
    ways = {form.name: form.macs for form in forms(kernel, 256, cout)}
    # Howard et al. 2017, section 3.1
    assert ways["depthwise separable"] / ways["standard"] == pytest.approx(1 / cout + 1 / kernel**2)


@pytest.mark.parametrize("line", [line for _, lines in TABLES.values() for line in lines], ids=lambda line: line.label)
def test_tables_are_what_was_published_and_what_is_counted(line):
    macs, params = computed(line)
    said = {(fact.fact.removesuffix("_without_aux"), str(fact.value)): fact.contested for fact in published()
            if fact.variant == line.variant and fact.fields == line.fields}
    # printed otherwise: the facts say why
    assert agrees(macs, line.macs) or said["macs", str(round(line.macs * 1e6))]
    if not line.fields:
        assert ("macs", str(round(line.macs * 1e6))) in said and ("params", str(round(line.params * 1e6))) in said
    assert agrees(params, line.params) or line.label == "GoogleNet"
    if line.label != "GoogleNet" and line.label != "VGG 16":
        assert ("top1_acc_pct", str(line.accuracy)) in said


def test_table_3_and_the_shares_of_table_2():
    assert all(agrees(line.macs, line.printed_macs) and agrees(line.params, line.printed_params)
               for line in tables()["Table 3: one layer, 14×14×512"])
    with torch.device("meta"):
        found = [row for row in layer_table(convatlas.create_model("mobilenet_v1")) if row.macs]
    whole = sum(row.macs for row in found)
    rules = (lambda row: row.kernel == "1×1", lambda row: " g" in row.kernel, lambda row: row.kind == "Linear")
    assert [round(100 * sum(row.macs for row in found if rule(row)) / whole, 2) for rule in rules] == [94.86, 3.06,
                                                                                                       0.18]


@pytest.mark.parametrize(("count", "millions", "same"),
                         [(568_740_352, 569, True), (290_675_200, 290, False), (470_072, 0.5, True),
                          (4_867_293_184, 4866, False), (52_283_392, 52.3, True)])
def test_rounding_is_that_of_the_print(count, millions, same):
    assert agrees(count, millions) is same


@pytest.mark.parametrize(("given", "said"), [({"cin": 100}, "groups = 32"),
                                             ({"cout": 30, "cin": 32, "groups": 1}, "reduction = 4"),
                                             ({"kernel": 0}, "kernel = 0")])
def test_numbers_that_do_not_fit_are_told(given, said):
    with pytest.raises(ConvatlasError, match=said):
        forms(**given)


def test_pictures_can_be_read():
    for given in ({}, {"kernel": 31, "cin": 128, "cout": 128, "groups": 4}, {"kernel": 1, "groups": 1}):
        figure = draw(forms(**given))
        assert_readable(figure)
        assert "standard" in words(figure)
    for name in ("vgg16", "googlenet", "lenet5", "densenet_40_12_cifar"):
        with torch.device("meta"):
            found = summary(convatlas.create_model(name), 2)
        figure = draw_stages(found)
        assert_readable(figure)
        assert "head" in words(figure)


def test_the_command(tmp_path, capsys):
    command(kernel=5, cin=64, cout=64, groups=4, out=tmp_path / "a.png", json=True)
    ways = json.loads(capsys.readouterr().out)
    assert (ways[0]["name"] == "standard" and ways[0]["params"] == 25 * 64 * 64
            and (tmp_path / "a.png").stat().st_size > 10_000)
    command("lenet5", out=tmp_path / "b.svg", json=True)
    assert (sum(stage["params"] for stage in json.loads(capsys.readouterr().out)) == 60_000
            and (tmp_path / "b.svg").exists())
    command(tables=True)
    assert "Table 8" in capsys.readouterr().out
    with pytest.raises(ConvatlasError, match="gif"):
        command(out=tmp_path / "a.gif")
