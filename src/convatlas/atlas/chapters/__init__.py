"""The lecture as twelve chapters, one per section: the table that all their pages follow from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as having
from typing import Any


@dataclass(frozen=True)
class Side:
    """A specification: a variant, and what is changed in it."""

    variant: str
    changes: Mapping[str, Any] = having(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """Two specifications, and what their difference is."""

    before: Side
    after: Side
    says: str


@dataclass(frozen=True)
class Chapter:
    """A section of the lecture. Experiments and statements follow from its `section`, variants from its families."""

    slug: str
    title: str
    idea: str                           # in one sentence
    section: str                        # of claims.yaml
    families: Sequence[str]             # files of arch/
    differences: Sequence[Difference]
    commands: Sequence[str]

    @property
    def number(self) -> int:
        """Its place in the lecture, from 1."""
        return CHAPTERS.index(self) + 1

    @property
    def name(self) -> str:
        """`06-resnet`: its page and its template."""
        return f"{self.number:02d}-{self.slug}"


CHAPTERS = (
    Chapter(
        "lenet", "A detector that is good in one place is good in all",
        "Share a layer's weights over all positions, and it needs fewer examples to read digits.",
        "LeNet", ("lecun1989", "zipcode", "lenet1", "lenet4", "lenet5"),
        (Difference(Side("lecun1989_net2"), Side("lecun1989_net5"),
                    "From a fully connected network to local connections with shared weights. Rows of the table: maps, "
                    "kernel, whether weights are shared."),
         Difference(Side("lenet5"), Side("lenet5_modern"),
                    "From the network of 1998 to what the field calls by its name.")),
        ("convatlas train lenet5 digits", "convatlas inspect diagram lenet5", "convatlas facts lenet5")),
    Chapter(
        "alexnet", "Larger than anything before, and a handful of tricks",
        "Eight layers, rectified linear units, dropout, altered copies of the images, and two GPUs.",
        "AlexNet", ("alexnet", "alexnet_cifar", "alexnet_owt"),
        (Difference(Side("alexnet_cifar", {"act": "tanh"}), Side("alexnet_cifar"),
                    "What the paper's first figure compares: one word."),
         Difference(Side("alexnet", {"lrn": "none", "pool_kernel": 2}), Side("alexnet"),
                    "Two of its tricks, off and on.")),
        ("convatlas reproduce relu-vs-tanh", "convatlas ablate alexnet_owt photos/ --with act=tanh",
         "convatlas inspect neighbours runs/RUN")),
    Chapter(
        "vgg", "Only 3×3, and deep",
        "Small kernels, stacked, see what a large one sees, with fewer weights and more nonlinearities.",
        "VGG", ("vgg",),
        (Difference(Side("vgg11"), Side("vgg19"), "Configurations A and E: the table lists the kernels of each stage."
                    ),),
        ("convatlas inspect receptive-field vgg16", "convatlas compare vgg11 vgg19",
         "convatlas reproduce small-kernels")),
    Chapter(
        "inception", "Several kernels side by side",
        "Let 1×1, 3×3 and 5×5 look at the same map, and pay for it with 1×1 convolutions that narrow it first.",
        "Inception", ("nin", "googlenet", "googlenet_bn", "bn_inception", "inception_v3", "inception_v4",
                      "inception_resnet_v1", "inception_resnet_v2"),
        (Difference(Side("googlenet_bn", {"five": "5x5"}), Side("googlenet_bn"),
                    "From GoogLeNet's 5×5 to the two 3×3 that took its place."),
         Difference(Side("inception_v3", {"factorized": False}), Side("inception_v3"),
                    "Then n×n becomes 1×n and n×1.")),
        ("convatlas inspect diagram googlenet", "convatlas inspect same-as-fc googlenet",
         "convatlas reproduce parallel-paths")),
    Chapter(
        "all-convolutional", "Nothing but convolutions",
        "A stride does what pooling does, and 1×1 convolutions with an average do what fully connected layers do.",
        "All-convolutional networks", ("allcnn",),
        (Difference(Side("allcnn_base_c"), Side("all_cnn_c"), "Pooling, replaced by a convolution with stride 2."),),
        ("convatlas compare allcnn_base_c all_cnn_c", "convatlas reproduce strided-for-pooling")),
    Chapter(
        "resnet", "Add what came in",
        "Let each block learn what to change, hand the rest on unchanged, and networks of any depth can be trained.",
        "ResNet", ("resnet", "resnet_cifar", "preact_resnet", "preact_resnet_cifar", "wide_resnet",
                   "wide_resnet_imagenet", "resnext", "resnext_cifar"),
        (Difference(Side("plain56_cifar"), Side("resnet56_cifar"), "56 layers that degrade, and 56 that do not."),),
        ("convatlas reproduce degradation", "convatlas inspect residuals resnet20_cifar.digits",
         "convatlas compare plain34 resnet34")),
    Chapter(
        "densenet", "Every layer reads all that came before",
        "Concatenate instead of adding, and layers of a dozen filters are enough.",
        "DenseNet", ("densenet", "densenet_cifar"),
        (Difference(Side("densenet_40_12_cifar"), Side("densenet_bc_100_12_cifar"),
                    "That every layer reads all earlier ones is no field: it is what the file builds. What the fields "
                    "vary is how it is paid for: B for bottlenecks, C for compression between blocks."),),
        ("convatlas inspect diagram densenet_40_12_cifar", "convatlas reproduce dense-reuse")),
    Chapter(
        "squeeze-and-excitation", "A gain for each channel, set by the image",
        "Look at the whole map, then turn each channel up or down.",
        "Squeeze and excitation", ("senet",),
        (Difference(Side("resnet50"), Side("resnet50", {"excite": {"reduction": 16}}),
                    "One field adds gates to any network here."),),
        ("convatlas inspect gates resnet20_cifar.digits-se digits", "convatlas reproduce squeeze-excite")),
    Chapter(
        "mobilenet", "Filter, then mix",
        "Split a convolution into a filter per channel and a 1×1 mixture of them, and it costs an eighth.",
        "MobileNet", ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3"),
        (Difference(Side("mobilenet_v1_full"), Side("mobilenet_v1"), "The same table, full and separable."),
         Difference(Side("mobilenet_v2", {"residual": False, "linear": False}), Side("mobilenet_v2"),
                    "V2's two ideas: residuals between bottlenecks, and bottlenecks without activation.")),
        ("convatlas bench mobilenet_v2", "convatlas reproduce separable", "convatlas reproduce linear-bottleneck")),
    Chapter(
        "efficientnet", "Grow in all directions at once",
        "Start from a small good network and scale depth, width and resolution together, by one number.",
        "EfficientNet", ("efficientnet",),
        (Difference(Side("efficientnet_b0"), Side("efficientnet_b4"), "Four rungs of the same ladder."),),
        ("convatlas scale budget efficientnet_b0 --phi 0..7", "convatlas reproduce compound")),
    Chapter(
        "u-net", "Down for what, up for where",
        "Halve the map until it knows what is there, double it until it knows where, and hand the fine maps across.",
        "U-Net", ("fcn", "unet", "unet_encoder"),
        (Difference(Side("unet_same", {"skips": False}), Side("unet_same"), "The connections across, off and on."),
         Difference(Side("unet"), Side("unet_same"),
                    "The paper's network without padding, and the usual one with it.")),
        ("convatlas train unet_same nuclei", "convatlas inspect overlap-tile", "convatlas inspect upsampling")),
    Chapter(
        "recent-advances", "Still becoming better",
        "Branches that fold away after training, and kernels as large as the map.",
        "Recent advances", ("repvgg", "convnext", "convnext_isotropic", "convnext_roadmap", "replknet", "slak"),
        (Difference(Side("repvgg_a0", {"skip": False, "point": False}), Side("repvgg_a0"),
                    "A plain stack of 3×3, and the branches beside each of them."),
         Difference(Side("convnext_roadmap"), Side("convnext_roadmap", {
             "blocks": [3, 3, 9, 3], "patchify": True, "depthwise": True, "width": 96, "inverted": True,
             "order": "first", "kernel": 7, "act": "gelu", "acts": "one", "norms": "one", "norm": "layer",
             "downsampling": "layer"}), "A ResNet-50, and all that makes it a ConvNeXt."),
         Difference(Side("replknet_31b", {"kernels": [3, 3, 3, 3]}), Side("replknet_31b"),
                    "Large kernels, off and on.")),
        ("convatlas deploy repvgg_a0.fashion-small", "convatlas inspect fold repvgg_a0.fashion-small",
         "convatlas reproduce reparameterize", "convatlas reproduce large-kernels")),
)
