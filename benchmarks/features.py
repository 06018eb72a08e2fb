"""Measures feature extraction against the bare network's forward pass on prepared floats, in the same run.

    python benchmarks/features.py [--rounds 7] [--images 64]

Ours begins with uint8 images, as metrics do. Inception has random weights: they cost what the real ones cost.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch
from _side_by_side import report, side_by_side
from pytorch_fid import inception as theirs
from torch import Tensor, nn

from gramtune.components import FeatureExtractor
from gramtune.data.digits import Digits
from gramtune.features.digits_cnn import DigitsCnn
from gramtune.features.inception import ENV, Inception
from gramtune.pixels import to_float
from gramtune.training.real_data import extract

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from inception_weights import random_state

CPU = torch.device("cpu")


@torch.inference_mode()
def forward(network: nn.Module, batches: list[Tensor]) -> None:
    for batch in batches:
        network(batch)


def compare(title: str, extractor: FeatureExtractor, bare: nn.Module, images: Tensor, batch: int, rounds: int) -> None:
    """`bare` is what the extractor runs: its cost is a forward pass per batch and nothing else."""
    network = extractor.load(Path("unused"), CPU)
    ready = list(to_float(images).split(batch))
    peers = {
        "bare forward pass": lambda: forward(bare, ready),
        "gramtune, from bytes": lambda: extract(network, images),
    }
    report(f"{title}, {len(images)} images", side_by_side(peers, rounds, warm_up=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=64, help="32×32 colour images for Inception")
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = Digits().train(Path("unused"))
    compare("digits_cnn", DigitsCnn(), DigitsCnn().load(Path("unused"), CPU), digits[:1024], 512, 20 * options.rounds)
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (options.images, 3, 32, 32), generator=rng, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        state = random_state()
        torch.save(state, Path(folder) / "weights.pth")
        os.environ[ENV] = str(Path(folder) / "weights.pth")
        theirs.load_state_dict_from_url = lambda *_, **__: state
        bare = theirs.InceptionV3([3], normalize_input=False).eval().requires_grad_(False)  # our floats are in [−1, 1]
        compare("inception", Inception(), bare, images, 32, options.rounds)


if __name__ == "__main__":
    main()
