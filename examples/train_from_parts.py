"""A network from the library's parts, trained by a plain loop of PyTorch on the digits that come with it."""

import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas.data import ImageSet, open_data
from convatlas.parts import GlobalPool, Residual, SqueezeExcite, conv_norm, shortcut


def block(cin: int, cout: int, stride: int = 1) -> Residual:
    """Two 3×3 convolutions that weigh their channels (SENet), around them a shortcut (ResNet's option B)."""
    convs = conv_norm(cin, cout, 3, stride), conv_norm(cout, cout, 3, act=None)
    return Residual(nn.Sequential(*convs, SqueezeExcite(cout, cout // 4)), shortcut("B", cin, cout, stride), nn.ReLU())


def tensors(part: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, 8, 8) from -1 to 1, and labels (N,)."""
    return torch.stack([part.read(i) for i in range(len(part))]) / 127.5 - 1, part.labels


torch.manual_seed(0)
torch.set_num_threads(1)        # for so small a network two threads wait for each other
digits = open_data(convatlas.Run().data)
(images, labels), (held, truth) = tensors(digits.train), tensors(digits.val)
net = nn.Sequential(conv_norm(1, 16, 3), block(16, 16), block(16, 32, 2), GlobalPool("avg"), nn.Linear(32, 10))
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
for epoch in range(4):
    net.train()
    for batch in torch.randperm(len(images)).split(64):
        loss = F.cross_entropy(net(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.inference_mode():
        right = (net(held).argmax(1) == truth).float().mean().item()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f} of the last batch, {right:.1%} of {len(truth)} "
          "held-out digits right")
