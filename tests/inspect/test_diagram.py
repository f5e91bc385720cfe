"""The drawing of a network: what it says of it, and that every variant can be drawn without words that leave the sheet
or meet.
"""

import dataclasses
import io

import numpy as np
import pytest
import torch

from convatlas import zoo
from convatlas.inspect.anatomy import Anatomy, anatomy
from convatlas.inspect.chains import Fork, kind_of, steps
from convatlas.inspect.diagram import draw
from convatlas.net.meta import blank
from convatlas.net.registry import VARIANTS, build

FAMILIES = {variant.family: name for name, variant in VARIANTS.items()}         # one variant of each architecture file


def parts(name: str, **fields) -> Anatomy:
    return anatomy(blank(lambda: build(name, fields)))


def rows(found: Anatomy) -> list[tuple]:
    """(layer, or × and the number of repeats; channels; size) of every unit."""
    return [(f"×{unit.repeat}" if unit.is_block else next(steps(unit.last)).text, unit.channels, unit.size)
            for unit in found.units]


def test_lenet5_is_drawn_layer_by_layer_as_in_its_figure_2():
    assert rows(parts("lenet5")) == [
        ("conv 5×5", 6, (28, 28)), ("subsample 2×2", 6, (14, 14)), ("conv 5×5", 16, (10, 10)),
        ("subsample 2×2", 16, (5, 5)),
        ("conv 5×5", 120, (1, 1)), ("fully connected", 84, None), ("RBF distance", 10, None)]


def test_alexnet_names_what_follows_each_layer_and_its_groups():
    first, second = (next(steps(unit.last)) for unit in parts("alexnet").units[:3:2])
    assert (first.text, first.stride, first.after) == ("conv 11×11", 4, ("ReLU", "LRN"))
    assert (second.text, second.after) == ("conv 5×5, 2 groups", ("ReLU", "LRN"))


# Table 1 of the ResNet paper; of DenseNet's; of EfficientNet's, times 3.1
@pytest.mark.parametrize(("name", "repeats"), [
    ("resnet18", [2, 2, 2, 2]), ("resnet50", [3, 4, 6, 3]), ("densenet121", [6, 1, 12, 1, 24, 1, 16]),
    ("preact_resnet50", [3, 4, 6, 3]), ("efficientnet_b7", [4, 7, 7, 10, 10, 13, 4]),
    ("mobilenet_v2", [1, 2, 3, 4, 3, 3, 1]), ("convnext_tiny", [3, 3, 9, 3])])
def test_repeated_blocks_are_folded_as_the_papers_tables_count_them(name, repeats):
    assert [unit.repeat for unit in parts(name).units if unit.is_block] == repeats


def test_a_block_that_repeats_shows_its_skip_and_remembers_that_the_first_projects():
    stage = next(unit for unit in parts("resnet50").units if unit.repeat == 4)
    first, last = (chain[0] for chain in (stage.first, stage.last))
    assert isinstance(first, Fork) and isinstance(last, Fork) and first.join == last.join == "add"
    assert ([step.text for step in first.paths[1]] == ["conv 1×1"] and first.paths[1][0].stride == 2
            and last.paths[1] == ())
    assert [step.channels for step in steps(stage.last)] == [128, 128, 512]
    assert kind_of(stage.first) == kind_of(stage.last)


def test_modules_of_different_widths_are_not_folded_but_are_of_one_kind():
    modules = [unit for unit in parts("googlenet").units if unit.is_block]
    assert (len(modules) == 9 and {unit.repeat for unit in modules} == {1}
            and len({kind_of(unit.last) for unit in modules}) == 1)
    # Table 1, output size
    assert [unit.channels for unit in modules] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


def test_side_classifiers_stand_after_4a_and_4d():
    found = parts("googlenet")
    modules = [number for number, unit in enumerate(found.units) if unit.is_block]
    assert found.sides == (modules[2], modules[5])
    assert parts("googlenet", aux=False).sides == ()


def test_pairs_of_blocks_that_follow_one_another_are_bracketed():
    found = parts("replknet_31b")
    assert [times for _, _, times in found.groups] == [2, 2, 18, 2]          # Ding et al. 2022: B = [2, 2, 18, 2]
    assert all(last == first + 1 for first, last, _ in found.groups)


def test_the_links_of_a_u_join_maps_of_one_level():
    found = parts("unet")
    ends = [(found.units[link.source].size, found.units[link.target].size) for link in found.links]
    # Figure 1
    assert ends == [((64, 64), (56, 56)), ((136, 136), (104, 104)), ((280, 280), (200, 200)), ((568, 568), (392, 392))]
    assert not any(unit.is_block for unit in found.units)


def test_scores_of_earlier_maps_stand_on_the_way_to_what_they_are_added_to():
    found = parts("fcn8s_vgg16")
    assert [(found.units[link.source].channels, link.through) for link in found.links] == [(512, "conv 1×1, 21 maps"),
                                                                                          (256, "conv 1×1, 21 maps")]
    assert parts("fcn32s_vgg16").links == ()


def test_the_picture_says_its_size_in_numbers():
    written = words(draw(parts("lenet5")))
    assert "60 k parameters, 326 k multiply-adds" in written and "RBF distance" in written


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in FAMILIES.values() and name != "resnet1202_cifar" else pytest.mark.slow)
    for name in VARIANTS])
def test_every_variant_is_drawn_inside_the_sheet_without_words_that_overlap(name):
    found = parts(name)
    figure = draw(found, f"{name} as it is")
    output = found.units[-1]
    assert (output.channels == VARIANTS[name].spec.num_classes
            and (found.params, found.macs) == (VARIANTS[name].params, VARIANTS[name].macs))
    boxes = extents(figure)
    wide, high = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= wide and box.y1 <= high, f"{text!r} leaves the sheet"
    low, end = (np.array([getattr(box, side) for _, box in boxes]) for side in ("min", "max"))
    over = np.triu((np.minimum(end[:, None], end) >= np.maximum(low[:, None], low)).all(-1), 1)
    assert not over.any(), " lies on ".join(repr(boxes[i][0]) for i in np.argwhere(over)[0])


def extents(figure):
    """(words, box in pixels) of every text, a little smaller than it is, for ascenders may touch the line above."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    found = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.axes[0].texts if text.get_text()]
    return [(text, type(box).from_extents(box.x0, box.y0 + 2, box.x1, box.y1 - 2)) for text, box in found]


def words(figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg")
    return file.getvalue()


def test_a_network_without_classes_and_one_of_other_channels_and_size():
    found = parts("resnet18", num_classes=0, in_chans=1, image_size=64)
    assert found.size == (64, 64) and found.in_chans == 1 and found.units[-1].channels == 512
    assert draw(found) is not None


def test_looking_leaves_the_network_as_it_was():
    model = zoo.create_model("lenet5_modern")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = anatomy(model)
    assert model.training and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert dataclasses.replace(found) == parts("lenet5_modern")
    assert not any(module._forward_hooks for module in model.modules())
