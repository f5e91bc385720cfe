"""Network in Network — Lin, Chen & Yan, "Network In Network", ICLR 2014.

Idea    A small perceptron slides over the map instead of a linear kernel: a convolution followed by two 1×1
        convolutions; and no fully connected layers: the last perceptron gives one map per class, whose mean is the
        class's score.
Mirrors The authors' configurations for CIFAR-10, CIFAR-100 and, in Caffe's model zoo, ImageNet: the paper has no table.
Departs The paper's text says max-pooling throughout; the authors' CIFAR networks average in the second pooling, and so
        do these (`pool2="max"` is the text's). ReLU follows the score maps too, as in the authors' files.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from ..net.model import Convnet, Head
from ..net.registry import register
from ..parts import Act, Excite, GlobalPool, gaussian_, with_act


class Row(NamedTuple):
    kernels: int
    kernel: int
    stride: int
    pad: int
    perceptron: tuple[int, ...]     # kernels of the 1×1 convolutions that follow ("cccp")
    std: tuple[float, ...]          # the weights' at first, layer by layer


#        kernels size stride pad perceptron  std
CIFAR = (
    Row(192,  5, 1, 2, (160, 96),   (0.05, 0.05, 0.05)),
    Row(192,  5, 1, 2, (192, 192),  (0.05, 0.05, 0.05)),
    Row(192,  3, 1, 1, (192,),      (0.05, 0.05)),          # and one map per class
)
IMAGENET = (
    Row(96,  11, 4, 0, (96, 96),    (0.01, 0.05, 0.05)),
    Row(256,  5, 1, 2, (256, 256),  (0.05, 0.05, 0.05)),
    Row(384,  3, 1, 1, (384, 384),  (0.01, 0.05, 0.05)),
    Row(1024, 3, 1, 1, (1024,),     (0.05, 0.05)),          # and one map per class
)


class MapHead(Head):
    """Scores are means of maps: classifier (1×1) → ReLU → global average."""

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, C, H, W) → (N, classes), or the mean of each of the C maps with `pre_logits`."""
        if not pre_logits and self.num_classes:
            x = self.output(self.classifier(x))
        pooled: Tensor = self.hidden(x)
        return pooled


@dataclass(frozen=True)
class NiN:
    """`drop_before` names the blocks before which half of the activations are dropped, behind the pooling;
    `excite` weighs what each perceptron gives.
    """

    table: tuple[Row, ...] = CIFAR
    pool2: Literal["avg", "max"] = "avg"
    drop_before: tuple[int, ...] = (2, 3)
    classifier_std: float = 0.05
    excite: Excite | None = None
    act: Act = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"     # "cifar": the first block is one 3×3 convolution
    drop_rate: float = 0.5
    num_classes: int = 10
    in_chans: int = 3
    image_size: int | tuple[int, int] = 32

    def build(self) -> Convnet:
        """Input (N, 3, H, W), scores (N, classes), none of them negative."""
        blocks: list[nn.Sequential] = []
        cin = self.in_chans
        for number, row in enumerate(self.table, start=1):
            if number == 1 and self.stem == "cifar":
                row = Row(row.perceptron[-1], 3, 1, 1, (), row.std)
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if number > 1:
                average = number == 3 and self.pool2 == "avg"
                layers["pool"] = nn.AvgPool2d(3, 2, ceil_mode=True) if average else nn.MaxPool2d(3, 2, ceil_mode=True)
            if number in self.drop_before:
                layers["drop"] = nn.Dropout(self.drop_rate)
            layers["conv"], layers["act"] = conv(cin, row.kernels, row.std[0], row.kernel, row.stride,
                                                 row.pad), nn.ReLU()
            cin = row.kernels
            for i, (cout, std) in enumerate(zip(row.perceptron, row.std[1:], strict=False), start=1):
                layers[f"cccp{i}"], layers[f"act{i}"] = conv(cin, cout, std), nn.ReLU()
                cin = cout
            if self.excite:
                layers["excite"] = self.excite.layer(cin)
            blocks.append(nn.Sequential(layers))
        stem, *stages = blocks
        net = Convnet(self, stem, stages, MapHead(GlobalPool(), cin, self.num_classes, self.classifier, nn.ReLU()))
        return with_act(net, self.act)

    def classifier(self, cin: int, classes: int) -> nn.Module:
        """The last layer of the last perceptron."""
        return conv(cin, classes, self.classifier_std)


def conv(cin: int, cout: int, std: float, kernel: int = 1, stride: int = 1, pad: int = 0) -> nn.Conv2d:
    """A convolution with Gaussian weights and zero biases."""
    layer = nn.Conv2d(cin, cout, kernel, stride, pad)
    gaussian_(layer, std, 0.0)
    return layer


register("nin_cifar10",  NiN(),                 params=966_986, macs=222_486_528, fidelity="authors", recipe="nin")
register("nin_cifar100", NiN(num_classes=100),  params=984_356, macs=223_592_448, fidelity="authors", recipe="nin")
register("nin_imagenet", NiN(IMAGENET, "max", (4,), 0.01, num_classes=1000, image_size=224),
         params=7_595_176, macs=1_100_188_800, fidelity="authors", recipe="allcnn_imagenet")
