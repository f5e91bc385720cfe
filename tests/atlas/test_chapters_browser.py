"""The chapters in a real browser: they compute what torch, SciPy and the library compute, and all is in reach."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.signal import convolve2d
from torch import Tensor

from convatlas import known
from convatlas.atlas.chapters import CHAPTERS
from convatlas.data.embedded import folder, read_fashion
from convatlas.files import along
from convatlas.parts import LocalResponseNorm, SqueezeExcite
from convatlas.weights.checkpoints import load
from convatlas.zoo import transforms

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
ALL = [f"chapter/{chapter.name}.html" for chapter in CHAPTERS]


@pytest.fixture
def maths(open_page):
    """`maths("convolve(a, b)", {...})`: what an expression of the page's functions gives, arrays as lists."""
    page = open_page(ALL[0])

    def run(expression: str, given: dict[str, Any] | None = None) -> Any:
        return page.evaluate(f"([expression, given]) => plain(({RECIPES})[expression](atlas.maths, given))"
                             .replace("plain", PLAIN), [expression, given or {}])

    return run


PLAIN = """(function plain(value) {
    if (ArrayBuffer.isView(value)) return Array.from(value);
    if (Array.isArray(value)) return value.map(plain);
    if (!value || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
})"""

# what the tests compute in the page, as functions: its policy lets no text become code
P = "((x) => ({...x, values: Float64Array.from(x.values)}))"
RECIPES = """({
    convolve: (m, {x, w, how}) => m.convolve(P(x), w, how),
    pool: (m, {x, kernel, stride, kind}) => m.pool(P(x), kernel, stride, kind),
    respond: (m, {x, how}) => m.respond(P(x), how),
    transposed: (m, {x, w, kernel, stride}) => m.transposed(P(x), w, kernel, stride),
    spaced: (m, {x, stride}) => m.spaced(P(x), stride),
    nearest: (m, {x, wanted, kernel, stride}) => m.nearest(P(x), wanted, kernel, stride),
    mirror: (m, {n}) => Array.from({length: 5 * n}, (_, i) => m.mirror(i - 2 * n, n)),
    everywhere: (m, {x, w, bias}) => m.everywhere(P(x), w, bias),
    influence: (m, {layers, side, shortcut}) => m.influence(layers, side, shortcut),
    holding: (m, {layers, side, share}) => m.holding(m.influence(layers, side), side, share),
    efficientnet: (m, {table, how}) => m.efficientnet(table, how),
    dense: (m, how) => m.dense(how),
    separable: (m, how) => m.separable(how),
    valid: (m, {sides, levels}) => sides.map((side) => m.valid(side, levels)),
    sight: (m, {layers}) => m.sight(layers),
    fold: (m, {x, block}) => ({one: m.folded(block), trained: m.branched(P(x), block)}),
    small: (m, {seed, act}) => m.small(seed, act),
    train: (m, {seed, act, images, labels, steps, batch, rate}) => {
        const net = m.small(seed, act), speed = m.still(net), told = [];
        for (let i = 0; i < steps; i++) {
            const those = Array.from({length: batch}, (_, j) => i * batch + j);
            told.push(m.step(net, speed, Float64Array.from(images), labels, those, rate).loss);
        }
        return {net, told};
    },
    normal: (m, {seed, counts}) => { const next = m.uniform(seed); return counts.map((n) => m.normal(next, n)); },
    byDepth: (m, {images, labels, how}) => m.byDepth(Float64Array.from(images), labels, how),
})""".replace("P(", f"{P}(")


def planes(values: Tensor) -> dict[str, Any]:
    """(C, H, W) as the page has it."""
    channels, height, width = values.shape
    return {"values": values.flatten().tolist(), "channels": channels, "height": height, "width": width}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(found: dict[str, Any], expected: Tensor, tolerance: float = 1e-10) -> None:
    assert [found["channels"], found["height"], found["width"]] == list(expected.shape)
    torch.testing.assert_close(torch.tensor(found["values"], dtype=torch.float64), expected.flatten(), rtol=tolerance,
                               atol=tolerance)


def test_convolution_pooling_and_doubling_are_torchs(maths):
    x, w, bias = noise(3, 9, 11), noise(4, 3, 3, 3, seed=1), noise(4, seed=2)
    for stride, pad in ((1, 0), (2, 0), (2, 1)):
        found = maths("convolve", {"x": planes(x), "w": w.flatten().tolist(), "how": {
            "cout": 4, "kernel": 3, "stride": stride, "pad": pad, "bias": bias.tolist()}})
        same(found, F.conv2d(x[None], w, bias, stride, pad)[0])
    for kernel in (2, 3):
        given = {"x": planes(x), "kernel": kernel, "stride": 2}
        same(maths("pool", {**given, "kind": "max"}), F.max_pool2d(x[None], kernel, 2)[0])
        same(maths("pool", {**given, "kind": "mean"}), F.avg_pool2d(x[None], kernel, 2)[0])
    one = noise(1, 5, 6)
    for kernel in (2, 4, 6):            # those whose borders torch cuts alike on both sides
        up = noise(1, 1, kernel, kernel, seed=kernel)
        given = {"x": planes(one), "w": up.flatten().tolist(), "kernel": kernel, "stride": 2}
        expected = F.conv_transpose2d(one[None], up, stride=2, padding=kernel // 2 - 1)[0]
        same(maths("transposed", given), expected)
        spread = maths("spaced", {"x": planes(one), "stride": 2})
        zeros = torch.tensor(spread["values"], dtype=torch.float64).view(1, 1, 10, 12)
        full = F.conv2d(F.pad(zeros, [kernel - 1] * 4), up.flip(2, 3))[0]       # what transposed convolution means
        cut = kernel // 2 - 1
        torch.testing.assert_close(full[:, cut:cut + 10, cut:cut + 12], expected)
    index = np.arange(7)
    assert maths("mirror", {"n": 7}) == np.pad(index, 14, mode="reflect").tolist()


def test_response_normalisation_is_the_librarys(maths):
    x = noise(8, 4, 5).abs()
    for size in (1, 4, 5):
        found = maths("respond", {"x": planes(x), "how": {"size": size, "k": 2.0, "alpha": 0.3, "beta": 0.75}})
        same(found, LocalResponseNorm(size, 0.3, 0.75, 2.0)(x[None])[0])


def test_one_layer_at_every_pixel_is_a_convolution(maths):
    x, w, bias = noise(3, 6, 5), noise(4, 3, seed=1), noise(4, seed=2)
    given = {"x": planes(x), "w": w.flatten().tolist(), "bias": bias.tolist()}
    same(maths("everywhere", given), F.conv2d(x[None], w[:, :, None, None], bias)[0])


def test_the_nearest_kernel_is_that_of_least_squares(maths):
    x = noise(1, 21, 21).abs()
    wanted = F.max_pool2d(x[None], 3, 2)[0]
    found = maths("nearest", {"x": planes(x), "wanted": planes(wanted), "kernel": 3, "stride": 2})
    rows = F.unfold(x[None], 3, stride=2)[0].T.numpy()
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    expected, left, *_ = np.linalg.lstsq(rows, wanted.flatten().numpy(), rcond=None)
    assert np.allclose([*found["weights"], *found["bias"]], expected, atol=1e-6)
    assert found["explained"] == pytest.approx(1 - left[0] / ((wanted - wanted.mean()) ** 2).sum().item())


def test_branches_fold_to_the_last_digit(maths):
    channels, x = 2, noise(2, 6, 7)
    parts = {"three": noise(channels, channels, 3, 3, seed=1), "point": noise(channels, channels, seed=2)}
    norms = {}
    for seed, name in enumerate(("three", "point", "skip"), start=3):
        draw = noise(4, channels, seed=seed)
        norms[name] = {"gamma": draw[0].tolist(), "beta": draw[1].tolist(), "mean": draw[2].tolist(),
                       "variance": (draw[3].abs() + 0.1).tolist()}
    block = {**{name: w.flatten().tolist() for name, w in parts.items()}, "skip": True, "norms": norms,
             "channels": channels}
    found = maths("fold", {"x": planes(x), "block": block})

    def normalized(y: Tensor, name: str) -> Tensor:
        mean, variance, gamma, beta = (torch.tensor(norms[name][key], dtype=torch.float64)
                                       for key in ("mean", "variance", "gamma", "beta"))
        return F.batch_norm(y, mean, variance, gamma, beta)

    expected = (normalized(F.conv2d(x[None], parts["three"], padding=1), "three")
                + normalized(F.conv2d(x[None], parts["point"][:, :, None, None]), "point")
                + normalized(x[None], "skip"))
    same(found["trained"], expected[0])
    one = torch.tensor(found["one"]["weights"], dtype=torch.float64).view(channels, channels, 3, 3)
    merged = F.conv2d(x[None], one, torch.tensor(found["one"]["bias"], dtype=torch.float64), padding=1)
    torch.testing.assert_close(merged, expected, rtol=1e-12, atol=1e-12)


def test_costs_are_the_librarys(maths):
    for i in range(8):
        known_one = known.account(f"efficientnet_b{i}")
        spec = known_one["spec"]
        found = maths("efficientnet", {"table": spec["table"], "how": {
            "width": spec["width"], "depth": spec["depth"], "size": spec["image_size"], "ratio": spec["se_ratio"]}})
        assert (found["params"], found["macs"]) == (known_one["params"], known_one["macs"])
    densenet = known.account("densenet_40_12_cifar")
    read = next(fact["published"] for fact in densenet["facts"] if fact["fact"] == "channels_read of stages.0.layers")
    count = len(read) if isinstance(read, list) else len(read.split(","))
    found = maths("dense", {"first": 16, "growth": 12, "reads": [[True] * (i + 1) for i in range(count)]})
    assert [layer["channels"] for layer in found["layers"]] == (
        read if isinstance(read, list) else list(map(int, read.split(","))))
    convs = {row["name"]: row["macs"] for row in known.account("mobilenet_v1")["layers"]}
    found = maths("separable", {"kernel": 3, "cin": 512, "cout": 512, "side": 14})
    assert (found["depthwise"]["macs"], found["pointwise"]["macs"]) == (
        convs["stages.3.1.depthwise.conv"], convs["stages.3.1.pointwise.conv"])
    assert maths("valid", {"sides": [572, 188, 570, 184], "levels": 4}) == [388, 4, None, None]
    assert maths("sight", {"layers": [[11, 4], [3, 2], [5, 1], [3, 2]]}) == 67       # AlexNet's pool2, as published


def test_small_networks_learn_as_torch_lets_them(maths):
    images, labels = noise(40, 8, 8).abs().clamp(max=1), [i % 10 for i in range(40)]
    for act in (torch.relu, torch.tanh):
        given = {"seed": 3, "act": act.__name__}
        begun = maths("small", given)
        a, b = begun["widths"]
        shapes = {"w1": (a, 1, 3, 3), "b1": (a,), "w2": (b, a, 3, 3), "b2": (b,), "w3": (10, b * 16), "b3": (10,)}
        weights = {name: torch.tensor(begun[name], dtype=torch.float64).view(shape).requires_grad_()
                   for name, shape in shapes.items()}
        optimizer = torch.optim.SGD(weights.values(), lr=0.05, momentum=0.9)
        losses = []
        for step in range(4):
            batch = slice(10 * step, 10 * step + 10)
            y = act(F.conv2d(images[batch, None], weights["w1"], weights["b1"]))
            y = act(F.conv2d(y, weights["w2"], weights["b2"]))
            loss = F.cross_entropy(F.linear(y.flatten(1), weights["w3"], weights["b3"]), torch.tensor(labels[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found = maths("train", {**given, "images": images.flatten().tolist(), "labels": labels, "steps": 4, "batch": 10,
                                "rate": 0.05})
        assert found["told"] == pytest.approx(losses, rel=1e-9)
        assert found["net"]["w1"] == pytest.approx(weights["w1"].flatten().tolist(), rel=1e-9)


@pytest.mark.parametrize(("shortcut", "norm"), [(False, True), (True, True), (False, False), (True, False)])
def test_gradients_by_depth_are_autograds(maths, shortcut, norm):
    depth, width, count = 7, 5, 12
    images, labels = noise(count, 64).abs(), [i % 10 for i in range(count)]
    found = maths("byDepth", {"images": images.flatten().tolist(), "labels": labels, "how": {
        "depth": depth, "width": width, "shortcut": shortcut, "norm": norm, "seed": 4, "scale": 0.9}})
    sizes = [64 * width] + [width * width] * (depth - 1)
    drawn = maths("normal", {"seed": 4, "counts": [*sizes, 10 * width]})
    weights = [(torch.tensor(values, dtype=torch.float64).view(width, -1) * 0.9 * (2 / (len(values) // width)) ** 0.5)
               .requires_grad_() for values in drawn[:-1]]
    x, kept = images, images
    for layer, w in enumerate(weights):
        if layer % 2 == 1:
            kept = x
        x = x @ w.T
        if norm:
            x = F.batch_norm(x, None, None, training=True)
        x = torch.relu(x + kept if shortcut and layer and layer % 2 == 0 else x)
    last = torch.tensor(drawn[-1], dtype=torch.float64).view(10, width) * (1 / width) ** 0.5
    loss = F.cross_entropy(x @ last.T, torch.tensor(labels))
    loss.backward()
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-9)
    assert found["gradients"] == pytest.approx([w.grad.square().mean().sqrt().item() for w in weights], rel=1e-7)


def test_influence_is_a_convolution_of_boxes_and_the_mean_of_gradients(maths):
    side = 31
    point = np.zeros((side, side))
    point[side // 2, side // 2] = 1
    boxes = [[7, 3], [3, 7], [3, 3]]
    kernel = sum(np.pad(np.ones(box), [((7 - n) // 2,) * 2 for n in box]) for box in boxes)
    expected = convolve2d(convolve2d(point, kernel, "same"), kernel, "same")
    found = np.reshape(maths("influence", {"layers": [boxes, boxes], "side": side}), (side, side))
    assert np.allclose(found, expected / expected.sum())
    assert maths("holding", {"layers": [[[5, 5]]], "side": side, "share": 1.0}) == 5
    generator, total = torch.Generator().manual_seed(0), torch.zeros(9, 9)
    draws = 4000
    for _ in range(3):
        x = torch.zeros(draws, 1, 9, 9, requires_grad=True)
        y = x.transpose(0, 1)                   # one network per image: its weights are drawn anew
        for _ in range(2):
            y = F.conv2d(y, torch.randn(draws, 1, 3, 3, generator=generator), padding=1, groups=draws)
        (grad,) = torch.autograd.grad(y[0, :, 4, 4].sum(), x)
        total += grad[:, 0].square().sum(0)
    found = np.reshape(maths("influence", {"layers": [[[3, 3]], [[3, 3]]], "side": 9}), (9, 9))
    assert np.allclose(total / total.sum(), found, atol=0.02)


def begun(page: "Page") -> None:
    """Bring each widget into view, and wait until all are ready."""
    from playwright.sync_api import expect

    widgets = page.locator(".widget[data-widget]")
    for i in range(widgets.count()):
        widgets.nth(i).scroll_into_view_if_needed()
    expect(page.locator(".widget[data-widget]:not([data-ready])")).to_have_count(0)


def faults(page: "Page") -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:160]}"
            for each in Axe().run(page, options={"preload": False}).response["violations"]]


@pytest.mark.parametrize("path", ["chapters.html", "experiments.html", "experiment/squeeze-excite.html", *ALL])
@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 360)])
def test_a_page_is_whole_in_both_themes_and_narrow(open_page, path, theme, width):
    page = open_page(path, theme=theme, width=width, file=theme == "dark")
    begun(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    for hidden in page.locator("details").all():
        hidden.evaluate("(each) => { each.open = true; }")
    assert faults(page) == []


def touched(open_page, chapter: int, widget: str) -> tuple["Page", Any]:
    page = open_page(ALL[chapter - 1])
    page.locator(f"[data-widget={widget}]").scroll_into_view_if_needed()
    page.wait_for_selector(f"[data-widget={widget}][data-ready]")
    return page, page.locator(f"[data-widget={widget}]")


def test_two_networks_learn_in_the_page(open_page):
    from playwright.sync_api import expect

    _, widget = touched(open_page, 2, "relu-tanh")
    widget.get_by_role("button", name="Train both").click()
    expect(widget.locator(".told")).to_contain_text(re.compile("After ([3-9]|[12][0-9]) epochs"))
    widget.get_by_role("button", name="Pause").click()
    said = widget.locator(".told").inner_text()
    errors = [float(word) for word in re.findall(r"([0-9.]+) % wrong", said)]
    assert len(errors) == 2 and max(errors) < 60, said      # chance is 90


def test_sliders_answer_keys(open_page):
    _, widget = touched(open_page, 3, "stack")
    slider = widget.get_by_role("slider", name="Layers")
    assert "7×7 pixels" in widget.locator(".told").inner_text()
    slider.focus()
    slider.press("ArrowRight")
    assert "9×9 pixels" in widget.locator(".told").inner_text()
    _, widget = touched(open_page, 9, "separable")
    assert "8.84 times less" in widget.locator(".told").inner_text()
    widget.get_by_label("Kernel D_K").press("Home")
    assert "more than the convolution" in widget.locator(".told").inner_text()


def test_shuffled_pixels_change_no_output(open_page):
    _, widget = touched(open_page, 4, "one-by-one")
    widget.get_by_label("Shuffle the pixels first").check()
    said = widget.locator(".told").inner_text()
    assert " 0 differ from those of a fully connected layer" in said and "and 0 from the output" in said


def test_a_connection_is_cut_by_key(open_page):
    _, widget = touched(open_page, 7, "dense")
    before = widget.locator(".told").inner_text()
    widget.get_by_role("button", name="Layer 5 reads the input").press("Enter")
    after = widget.locator(".told").inner_text()
    assert before.startswith("15 of 15") and "reads 64 channels" in before
    assert after.startswith("14 of 15") and "reads 48 channels" in after


def test_tiles_move_by_keys_and_mirror(open_page):
    _, widget = touched(open_page, 11, "tiles")
    assert "Tile 1 of 16: 84×84 pixels in" in widget.locator(".told").inner_text()
    widget.locator("canvas.tiles").press("ArrowRight")
    assert "Tile 2 of 16" in widget.locator(".told").inner_text()


def test_a_flat_map_stays_flat_but_for_uneven_kernels(open_page):
    _, widget = touched(open_page, 11, "upsample")
    assert "deviates from flat by" in widget.locator(".told").inner_text()
    widget.get_by_label("bilinear weights").check(force=True)
    assert "from flat by 0.0" in widget.locator(".told").inner_text()
    assert "4" in widget.locator(".shown figcaption").nth(3).inner_text()


def test_branches_and_kernel_show_the_same_digits(open_page):
    _, widget = touched(open_page, 12, "fold")
    rows = [row.locator("td").all_inner_texts() for row in widget.locator("tbody tr").all()]
    assert len(rows) == 7 and all(first == second for _, first, second in rows)
    net = load(along()["repvgg_a0.fashion-small"]).eval()
    made: list[Tensor] = []
    net.get_submodule("stages.1.1.conv").register_forward_hook(lambda module, given, out: made.append(out))
    with torch.inference_mode():
        part = read_fashion().val
        net(transforms(net)(part.read(part.labels.tolist().index(0)))[None])
    assert [float(first) for _, first, _ in rows] == pytest.approx(made[0][0, 0, 3].tolist(), abs=1e-4)
    widget.get_by_label("1×1 branch").uncheck(force=True)
    again = [row.locator("td").all_inner_texts() for row in widget.locator("tbody tr").all()]
    assert again != rows and all(first == second for _, first, second in again)


def test_a_picture_of_ones_own_is_taken_and_a_file_that_is_none_is_told(open_page, tmp_path):
    from playwright.sync_api import expect

    _, widget = touched(open_page, 5, "pool-or-stride")
    pixels = np.random.default_rng(0).integers(0, 255, (300, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "<b>mine.png")
    before = widget.locator(".told").inner_text()
    widget.get_by_label("or your own").set_input_files(tmp_path / "<b>mine.png")
    expect(widget.locator(".told")).not_to_have_text(before)
    (tmp_path / "none.png").write_bytes(b"not a picture")
    widget.get_by_label("or your own").set_input_files(tmp_path / "none.png")
    widget.get_by_text("no picture that the browser reads").wait_for()


def test_the_gates_are_those_of_the_network(open_page):
    _, widget = touched(open_page, 8, "gates")
    net = load(along()["resnet20_cifar.digits-se"]).eval()
    gates: list[Tensor] = []
    found = [module for module in net.modules() if isinstance(module, SqueezeExcite)]
    found[-1].gate.register_forward_hook(lambda module, given, made: gates.append(made))
    with folder("digits").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        three = arrays["images"][list(arrays["labels"]).index(3)]
    picture = torch.from_numpy(np.rint(three * (255 / 16)).astype(np.uint8))[None]
    with torch.inference_mode():
        net(transforms(net)(picture)[None])
    said = widget.locator(".told").inner_text()
    low, high = (float(number) for number in re.findall(r"between (\d\.\d+) and (\d\.\d+)", said)[0])
    assert (low, high) == pytest.approx((gates[0].min().item(), gates[0].max().item()), abs=0.01)
