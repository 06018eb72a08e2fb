"""Space files for tests: the paper's axis on a base that trains in a second."""

from __future__ import annotations

from pathlib import Path

BASE = """\
data: {name: digits}
objective: {name: gram, critic_dim: 4, bandwidths: [1, 4]}
network: {name: dcgan, noise_dim: 4, width: 4}
optimizer: {name: adam, learning_rate: 1e-3}
training: {batch_size: 16, steps: 6, eval_every: 3, eval_samples: 100}
metrics: [fid_digits]
metric: fid_digits
"""
SPACE = """\
name: axis
about: Does K matter?
base: base/tiny.yaml
space:
  objective.critic_dim: {grid: [1, 4, 16]}
replicates: 2
resources: {cpu: 1, gpu: 0}
"""
RING = """\
data: {name: ring, n_train: 300, n_held_out: 200}
objective: {name: gram, critic_dim: 2, bandwidths: [1]}
network: {name: mlp, noise_dim: 2, hidden: [8], critic_hidden: [8]}
optimizer: {name: adam, learning_rate: 1e-3}
training: {batch_size: 16, steps: 9, eval_every: 1, eval_samples: 50}
metrics: [sliced_wasserstein]
metric: sliced_wasserstein
"""
"""A base on points that trains in a second; its evaluations are at every step."""
METHODS_SPACE = """\
name: methods
base: base/tiny.yaml
space:
  method:
    cases:
      GRAM: {objective.bandwidths: [2, 3]}
      GAN: {objective.name: gan, optimizer.learning_rate: 1e-4}
  objective.critic_dim: {grid: [2, 3], when: {method: GRAM}}
  training.batch_size: {grid: [8, 16]}
"""


def write_space(folder: Path, space: str = SPACE, base: str = BASE) -> Path:
    """Writes both files into `folder`; returns the space file."""
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base" / "tiny.yaml").write_text(base, encoding="utf-8")
    path = folder / "axis.yaml"
    path.write_text(space, encoding="utf-8")
    return path


def marked_processes(mark):
    """Process numbers of all processes whose environment contains `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
