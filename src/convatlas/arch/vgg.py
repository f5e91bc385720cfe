"""VGG — Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.

Idea    Depth out of one repeated move: small 3×3 convolutions, then a pooling that halves the map while the next block
        doubles the channels. Two 3×3 kernels see what one 5×5 sees, with fewer weights and one nonlinearity more.
Mirrors Table 1, columns A, A-LRN, B, C, D and E: kernel sizes of the convolutions, block by block.
Departs Columns B to E begin from Glorot & Bengio's scaling, which the paper's section 3.1 names as good enough; its own
        results began from A's trained layers. A begins from normal weights of deviation 0.01: with the printed variance
        of 10⁻², a deviation of 0.1, scores begin at 10⁶ and the loss at 9·10⁶. The networks with BatchNorm are the field's (torchvision): convolutions
        keep their biases, weights as He et al. 2015. `se_vgg16` puts Hu et al. 2018's block after each activation; its
        paper says where, not with which biases: both layers have them. An image of another size is pooled to 7×7 before
        fc6.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ..errors import ConvatlasError
from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import Act, Excite, LocalResponseNorm, gaussian_, he_normal_, linear, times, with_act

Block = tuple[int, ...]     # the kernel size of every convolution of a block
WIDTHS = (64, 128, 256, 512, 512)

#     64       128      256            512            512
A = ((3,),    (3,),    (3, 3),        (3, 3),        (3, 3))
B = ((3, 3),  (3, 3),  (3, 3),        (3, 3),        (3, 3))
C = ((3, 3),  (3, 3),  (3, 3, 1),     (3, 3, 1),     (3, 3, 1))
D = ((3, 3),  (3, 3),  (3, 3, 3),     (3, 3, 3),     (3, 3, 3))
E = ((3, 3),  (3, 3),  (3, 3, 3, 3),  (3, 3, 3, 3),  (3, 3, 3, 3))


@dataclass(frozen=True)
class VGG:
    """`pool` "conv" replaces each max-pool by a 3×3 convolution of stride 2, as All-CNN does; `width` multiplies the
    convolutions' channels, `fc` is the width of fc6 and fc7, `grid` the side of the map that fc6 reads. A table of fewer
    than five blocks has the first of their widths.
    """

    table: tuple[Block, ...] = D
    batch_norm: bool = False
    lrn: bool = False
    pool: Literal["max", "conv"] = "max"
    excite: Excite | None = None
    act: Act = "relu"
    init: Literal["gaussian", "glorot", "he"] = "glorot"
    width: float = 1.0
    fc: int = 4096
    grid: int = 7
    norm_eps: float = 1e-5
    drop_rate: float = 0.5
    num_classes: int = 1000
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224

    def build(self) -> Convnet:
        """Input (N, 3, 224, 224), scores (N, 1000)."""
        if len(self.table) > len(WIDTHS):
            raise ConvatlasError(f"VGG: table = {self.table} is refused: it has {len(self.table)} blocks, and there are "
                                 f"widths for {len(WIDTHS)}")
        blocks: list[OrderedDict[str, nn.Module]] = [OrderedDict()]
        cin = self.in_chans
        for kernels, full in zip(self.table, WIDTHS, strict=False):
            cout = times(full, self.width)
            for i, kernel in enumerate(kernels, start=1):
                blocks[-1].update(self.conv(cin, cout, kernel, number=str(i)))
                cin = cout
            if self.lrn and len(blocks) == 1:
                blocks[-1]["lrn"] = LocalResponseNorm()
            blocks.append(self.reduce(cout))    # a block's pooling begins the next stage; pool5 is a stage of its own
        stem, *stages = (nn.Sequential(block) for block in blocks)

        fc = linear(nn.init.xavier_uniform_ if self.init == "glorot" else partial(nn.init.normal_, std=0.01))
        hidden = OrderedDict(pool=nn.AdaptiveAvgPool2d(self.grid), flatten=nn.Flatten(),
                             fc6=fc(cin * self.grid**2, self.fc), act6=nn.ReLU(), drop6=nn.Dropout(self.drop_rate),
                             fc7=fc(self.fc, self.fc), act7=nn.ReLU(), drop7=nn.Dropout(self.drop_rate))
        net = Convnet(self, stem, stages, Head(nn.Sequential(hidden), self.fc, self.num_classes, fc))
        self.initialize(net)
        return with_act(net, self.act)

    def conv(self, cin: int, cout: int, kernel: int, stride: int = 1, *,
             number: str = "") -> "OrderedDict[str, nn.Module]":
        """Convolution → (norm →) ReLU (→ squeeze and excite), named conv1, norm1, act1, se1."""
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            {f"conv{number}": nn.Conv2d(cin, cout, kernel, stride, kernel // 2)})
        if self.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(cout, self.norm_eps)
        layers[f"act{number}"] = nn.ReLU()
        if self.excite and number:
            layers[f"se{number}"] = self.excite.layer(cout)
        return layers

    def reduce(self, channels: int) -> "OrderedDict[str, nn.Module]":
        """Reduction that halves the map."""
        if self.pool == "max":
            return OrderedDict(pool=nn.MaxPool2d(2))
        return OrderedDict(pool=nn.Sequential(self.conv(channels, channels, 3, 2)))

    def initialize(self, net: nn.Module) -> None:
        """Every convolution's weights as `init` says, its biases zero."""
        if self.init == "he":
            he_normal_(net)
            return
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                gaussian_(module, 0.01, 0.0)
                if self.init == "glorot":
                    nn.init.xavier_uniform_(module.weight)


#   Table 1                                                                              parameters          multiply-adds
register("vgg11",     VGG(A, init="gaussian"),            aliases=("vgg_a",),     params=132_863_336, macs=7_609_090_048, recipe="vgg")
register("vgg11_lrn", VGG(A, init="gaussian", lrn=True),  aliases=("vgg_a_lrn",), params=132_863_336, macs=7_609_090_048, recipe="vgg")
register("vgg13",     VGG(B),                             aliases=("vgg_b",),     params=133_047_848, macs=11_308_466_176, recipe="vgg")
register("vgg16_c",   VGG(C),                             aliases=("vgg_c",),     params=133_638_952, macs=11_770_888_192, recipe="vgg")
register("vgg16",     VGG(D),                             aliases=("vgg_d",),     params=138_357_544, macs=15_470_264_320, recipe="vgg")
register("vgg19",     VGG(E),                             aliases=("vgg_e",),     params=143_667_240, macs=19_632_062_464, recipe="vgg")

#   with BatchNorm
register("vgg11_bn", VGG(A, True, init="he"), params=132_868_840, macs=7_609_090_048, fidelity="field", recipe="vgg")
register("vgg13_bn", VGG(B, True, init="he"), params=133_053_736, macs=11_308_466_176, fidelity="field", recipe="vgg")
register("vgg16_bn", VGG(D, True, init="he"), params=138_365_992, macs=15_470_264_320, fidelity="field", recipe="vgg")
register("vgg19_bn", VGG(E, True, init="he"), params=143_678_248, macs=19_632_062_464, fidelity="field", recipe="vgg")
register("se_vgg16", VGG(D, True, init="he", excite=Excite()), params=138_596_784, macs=15_470_490_624, recipe="senet")
