"""One GRAM step against the straightforward PyTorch step of the authors' public code, on one core, in one run.

    python benchmarks/gram_step.py [rounds]

The plain step: three pairwise `cdist`², a loop over bandwidths with `solve`, two full backward passes with
`retain_graph`, one Adam per network without `foreach`. Each peer has a process of its own, since gramtune changes the
allocator's settings. Both start from the same weights and see the same batches; that
their losses agree is asserted before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _side_by_side import apart, report
from torch import Tensor

from gramtune.objectives.gram import Gram
from gramtune.pixels import to_float
from gramtune.sweep.load import load_config
from gramtune.training.allocator import keep_freed_memory
from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks
from gramtune.training.replicates import Replicates
from gramtune.training.seeds import stream

CPU = torch.device("cpu")
SETTINGS = {
    "ring MLP, h = 8, K = 10, batch 200": (
        "ring",
        ("objective.critic_dim=10", "network.noise_dim=8"),
    ),
    "DCGAN 32×32, batch 64, K = 128, five bandwidths": ("cifar10", ("metrics=[fid]",)),
}
_STEPS = 5


class PlainStep:
    """The authors' step with the objective's default fields: PD + λΣr̂, mean over bandwidths, √MMD²."""

    def __init__(self, config: TrialConfig, train: Tensor, seed: int) -> None:
        self.config, self.train = config, train
        self.networks = build_networks(config, config.data.shape)
        for label, network in self.networks.items():
            network.to_empty(device="cpu")
            config.network.initialise(network, stream(seed, f"initialise {label}"))
        rate, betas = config.optimizer.learning_rate, (0.5, 0.999)
        self.optimizers = {
            label: torch.optim.Adam(network.parameters(), lr=rate, betas=betas, foreach=False, fused=False)
            for label, network in self.networks.items()
        }
        self.batches, self.noise = stream(seed, "batches"), stream(seed, "noise")

    def __call__(self) -> tuple[float, float]:
        """Losses of critic and generator before the step."""
        size = self.config.training.batch_size
        real = to_float(self.train[torch.randint(len(self.train), (size,), generator=self.batches)])
        fake = self.networks["generator"](self.config.network.noise(size, self.noise))
        f_p, f_q = self.networks["critic"](real), self.networks["critic"](fake)
        critic, generator = self._losses(f_q, f_p)
        gradients: dict[str, list[Tensor]] = {}
        for label, loss in (("critic", critic), ("generator", generator)):
            for network in self.networks.values():
                network.zero_grad()
            loss.backward(retain_graph=True)
            gradients[label] = [p.grad for p in self.networks[label].parameters() if p.grad is not None]
        for label, optimizer in self.optimizers.items():
            for parameter, gradient in zip(self.networks[label].parameters(), gradients[label], strict=True):
                parameter.grad = gradient
            optimizer.step()
        return critic.item(), generator.item()

    def _losses(self, f_q: Tensor, f_p: Tensor) -> tuple[Tensor, Tensor]:
        n = len(f_q)
        d_qq, d_qp, d_pp = (torch.cdist(a, b) ** 2 for a, b in ((f_q, f_q), (f_q, f_p), (f_p, f_p)))
        ratio, mmd = torch.zeros(n), torch.zeros(())
        assert isinstance(self.config.objective, Gram)
        bandwidths = self.config.objective.bandwidths
        for sigma in bandwidths:
            k_qq, k_qp, k_pp = (torch.exp(-d / (2 * sigma**2)) for d in (d_qq, d_qp, d_pp))
            ratio = ratio + torch.linalg.solve(k_qq + 1e-3 * torch.eye(n), k_qp.sum(dim=1)) / len(bandwidths)
            mmd = mmd + (k_qq.mean() - 2 * k_qp.mean() + k_pp.mean()) / len(bandwidths)
        return -(((ratio - 1) ** 2).mean() + ratio.sum()), torch.sqrt(torch.clamp(mmd, min=1e-12))


def samples(config: TrialConfig) -> Tensor:
    """The training set; noise in its stead where it would have to be downloaded, which takes as long to train on."""
    if config.data.name in ("ring", "digits"):
        return config.data.train(Path("unused"))
    return torch.randint(0, 256, (2000, *config.data.shape), dtype=torch.uint8, generator=stream(0, "images"))


def check_equal(ours: Replicates, plain: PlainStep) -> None:
    """The first steps have the same losses: nothing is compared with something else."""
    for _ in range(3):
        (traces,), (critic, generator) = ours.advance(1), plain()
        expected = torch.tensor([critic, generator])
        mine = torch.tensor([traces["loss/critic"], traces["loss/generator"]])
        torch.testing.assert_close(mine, expected, rtol=5e-3, atol=1e-3)


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    for title, (base, settings) in SETTINGS.items():
        config = load_config(f"search_spaces/base/{base}.yaml", settings)
        train = samples(config)
        check_equal(Replicates(config, [0], train, CPU), PlainStep(config, train, 0))

        def plainly(config: TrialConfig = config, train: Tensor = train) -> Callable[[], object]:
            plain = PlainStep(config, train, 0)
            return lambda: [plain() for _ in range(_STEPS)]

        def as_a_trial(config: TrialConfig = config, train: Tensor = train, keep: bool = True) -> Callable[[], object]:
            if keep:
                keep_freed_memory()  # as `Trainer` does
            replicates = Replicates(config, [0], train, CPU)
            return lambda: replicates.advance(_STEPS)

        peers = {
            "plain step": plainly,
            "gramtune": as_a_trial,
            "gramtune, glibc as it comes": partial(as_a_trial, keep=False),
        }
        report(title, apart(peers, rounds), _STEPS)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
