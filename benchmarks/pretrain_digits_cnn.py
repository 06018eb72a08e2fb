"""Makes `gramtune/features/digits_cnn.safetensors`: `python benchmarks/pretrain_digits_cnn.py`.

Trained on the training part of the digits alone, so that the held-out part is new to the features as well.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from gramtune import features
from gramtune.data.digits import load_split
from gramtune.features.digits_cnn import FEATURE_DIM, WEIGHTS, backbone
from gramtune.pixels import to_float

STEPS, BATCH = 3000, 128


def pretrain(seed: int = 0) -> tuple[nn.Sequential, float]:
    """The trained backbone and its held-out accuracy. One thread, so that the weights can be made again."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train, held_out, train_labels, held_out_labels = load_split()
    network, head = backbone(), nn.Sequential(nn.Dropout(0.5), nn.Linear(FEATURE_DIM, 10))
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        index = torch.randint(len(train), (BATCH,))
        loss = F.cross_entropy(head(network(_shifted(to_float(train[index])))), train_labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    head.eval()
    with torch.no_grad():
        predicted = head(network(to_float(held_out))).argmax(dim=1)
    return network, (predicted == held_out_labels).double().mean().item()


def _shifted(images: torch.Tensor) -> torch.Tensor:
    """The batch moved by −1, 0 or 1 pixel in each direction, background where nothing was."""
    dy, dx = torch.randint(0, 3, (2,)).tolist()
    return F.pad(images, (1, 1, 1, 1), value=-1.0)[..., dy : dy + 8, dx : dx + 8]


if __name__ == "__main__":
    trained, accuracy = pretrain()
    path = Path(features.__path__[0]) / WEIGHTS
    save_file(trained.state_dict(), path)
    print(f"{path}: held-out accuracy {accuracy:.2%}, {path.stat().st_size} bytes")
