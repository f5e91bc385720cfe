"""A paper's innovation taken away: 56 layers with ResNet's shortcuts and without them (He et al. 2016, figure 6), on
digits of 8×8.

Both networks of a pair see the same images in the same order. A few short runs show which way it goes, not how far: the
paper trains for 164 epochs on CIFAR-10.
"""

import statistics

import torch
import torch.nn.functional as F

import convatlas
from convatlas.data import ImageSet, open_data


def tensors(part: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 1, 8, 8) from -1 to 1, and labels (N,)."""
    return torch.stack([part.read(i) for i in range(len(part))]) / 127.5 - 1, part.labels


def loss_after(seed: int, shortcut: str, steps: int = 20) -> float:
    """The mean loss of the last ten of so many steps of training."""
    torch.manual_seed(seed)
    net = convatlas.create_model("resnet56_cifar", shortcut=shortcut, in_chans=1, image_size=8).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for batch in torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: 64 * steps].split(64):
        losses.append(F.cross_entropy(net(images[batch]), labels[batch]))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    return statistics.mean(loss.item() for loss in losses[-10:])


torch.set_num_threads(1)        # for so small a network two threads wait for each other
images, labels = tensors(open_data(convatlas.Run().data).train)
for seed in range(2):
    kept, gone = loss_after(seed, "A"), loss_after(seed, "none")
    print(f"seed {seed}: training loss {kept:.2f} with shortcuts, {gone:.2f} without")
