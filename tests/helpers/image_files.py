"""Small data sets in the official layouts, because the real ones cannot be shipped."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from gramtune.data.cifar10 import FOLDER


def cifar_files(root: Path) -> dict[str, Any]:
    """Writes twelve images in the official layout; returns what torchvision must be told to take them for the set."""
    folder = root / FOLDER
    folder.mkdir()
    rng = np.random.RandomState(0)

    def write(name: str, content: dict[str, Any]) -> list[str]:
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name: str) -> list[str]:
        pixels = rng.randint(0, 256, (2, 3072)).astype(np.uint8)
        return write(name, {"data": pixels, "labels": [0, 1], "batch_label": name, "filenames": ["a", "b"]})

    name, checksum = write("batches.meta", {"label_names": ["plane", "car"], "num_vis": 3072})
    return {
        "train_list": [batch(f"data_batch_{i}") for i in range(1, 6)],
        "test_list": [batch("test_batch")],
        "meta": {"filename": name, "key": "label_names", "md5": checksum},
    }
