"""How networks are commonly trained on small pictures: plain modules, PIL transforms, a DataLoader.

What train_step.py compares with.
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class LeNet(nn.Module):
    """What the field calls LeNet-5."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Conv2d(16, 120, 5)
        self.fc1, self.fc2 = nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x)).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut without parameters."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        self.stride, self.more = stride, cout - cin

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        short = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.more)) if self.more else x
        return F.relu(y + short)


class ResNet20(nn.Module):
    """For 32×32 pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        rows = [(16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2),
                (64, 64, 1), (64, 64, 1)]
        self.blocks = nn.Sequential(*(Block(*row) for row in rows))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Pictures(Dataset):
    """Arrays as PIL images through a transform, as torchvision.datasets.MNIST and CIFAR10 give them."""

    def __init__(self, images: Tensor, labels: Tensor, transform: object) -> None:
        self.images: np.ndarray = images.permute(0, 2, 3, 1).squeeze(-1).contiguous().numpy()
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def batches(images: Tensor, labels: Tensor, batch: int, *, mean: float, std: float, size: int, augment: bool,
            shuffle: bool, workers: int) -> DataLoader:
    """Resize where needed; crop with a padding of 4 and flip where asked; ToTensor; Normalize."""
    from torchvision import transforms as T

    channels = images.shape[1]
    steps: list[object] = [] if images.shape[-1] == size else [T.Resize(size)]
    if augment:
        steps += [T.RandomCrop(size, padding=4), T.RandomHorizontalFlip()]
    steps += [T.ToTensor(), T.Normalize((mean,) * channels, (std,) * channels)]
    return DataLoader(Pictures(images, labels, T.Compose(steps)), batch, shuffle=shuffle, num_workers=workers,
                      persistent_workers=workers > 0)


def epoch(model: nn.Module, data: object, optimizer: torch.optim.Optimizer) -> Iterator[float]:
    """One pass; gives the loss of each step."""
    model.train()
    for images, labels in data:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
