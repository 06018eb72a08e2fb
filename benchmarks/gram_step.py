"""One GRAM step against the straightforward PyTorch step of the authors' public code, on one core or a GPU, in one run.

    python benchmarks/gram_step.py [rounds] [cpu | cuda]

The plain step: three pairwise `cdist`², a loop over bandwidths with `solve`, two full backward passes with
`retain_graph`, one Adam per network without `foreach`. Each peer has a process of its own, since gramtune changes the
allocator's settings. Both start from the same weights and see the same batches; that
their losses agree is asserted before anything is timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from _side_by_side import apart, report, side_by_side
from torch import Tensor

from gramtune.objectives.gram import Gram
from gramtune.pixels import to_float
from gramtune.space.load import load_config
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
_STEPS, _STEPS_ON_GPU = 5, 100


class PlainStep:
    """The authors' step with the objective's default fields: PD + λΣr̂, mean over bandwidths, √MMD²."""

    def __init__(self, config: TrialConfig, train: Tensor, seed: int) -> None:
        self.config, self.train, self.device = config, train, train.device
        self.networks = build_networks(config, config.data.shape)
        for label, network in self.networks.items():
            network.to_empty(device="cpu")
            config.network.initialise(network, stream(seed, f"initialise {label}"))
            network.to(self.device)
        rate, betas = config.optimizer.learning_rate, (0.5, 0.999)
        self.optimizers = {
            label: torch.optim.Adam(network.parameters(), lr=rate, betas=betas, foreach=False, fused=False)
            for label, network in self.networks.items()
        }
        self.batches, self.noise = (stream(seed, purpose, self.device) for purpose in ("batches", "noise"))

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Losses of critic and generator before the step."""
        size = self.config.training.batch_size
        index = torch.randint(len(self.train), (size,), generator=self.batches, device=self.device)
        real = to_float(self.train[index])
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
        return critic.detach(), generator.detach()

    def _losses(self, f_q: Tensor, f_p: Tensor) -> tuple[Tensor, Tensor]:
        n = len(f_q)
        d_qq, d_qp, d_pp = (torch.cdist(a, b) ** 2 for a, b in ((f_q, f_q), (f_q, f_p), (f_p, f_p)))
        ratio, mmd, ridge = f_q.new_zeros(n), f_q.new_zeros(()), 1e-3 * torch.eye(n, device=self.device)
        assert isinstance(self.config.objective, Gram)
        bandwidths = self.config.objective.bandwidths
        for sigma in bandwidths:
            k_qq, k_qp, k_pp = (torch.exp(-d / (2 * sigma**2)) for d in (d_qq, d_qp, d_pp))
            ratio = ratio + torch.linalg.solve(k_qq + ridge, k_qp.sum(dim=1)) / len(bandwidths)
            mmd = mmd + (k_qq.mean() - 2 * k_qp.mean() + k_pp.mean()) / len(bandwidths)
        return -(((ratio - 1) ** 2).mean() + ratio.sum()), torch.sqrt(torch.clamp(mmd, min=1e-12))


def samples(config: TrialConfig) -> Tensor:
    """The training set; noise replaces data sets that need a download, because it takes equally long to train on."""
    if config.data.name in ("ring", "digits"):
        return config.data.train(Path("unused"))
    return torch.randint(0, 256, (2000, *config.data.shape), dtype=torch.uint8, generator=stream(0, "images"))


def check_equal(ours: Replicates, plain: PlainStep) -> None:
    """Checks that the first steps of both have equal losses, so that equal work is compared."""
    for _ in range(3):
        (traces,), (critic, generator) = ours.advance(1), plain()
        expected = torch.stack([critic, generator]).cpu()
        mine = torch.tensor([traces["loss/critic"], traces["loss/generator"]])
        torch.testing.assert_close(mine, expected, rtol=5e-3, atol=1e-3)


def on_gpu(rounds: int) -> None:
    """Measures both in one process, because a GPU has only torch's allocator."""
    gpu = torch.device("cuda")
    print(torch.cuda.get_device_name())
    for title, (base, settings) in SETTINGS.items():
        config = load_config(f"search_spaces/base/{base}.yaml", settings)
        train = samples(config).to(gpu)
        check_equal(Replicates(config, [0], train, gpu), PlainStep(config, train, 0))
        plain, ours = PlainStep(config, train, 0), Replicates(config, [0], train, gpu)
        peers = {
            "plain step": lambda plain=plain: [plain() for _ in range(_STEPS_ON_GPU)],
            "gramtune": lambda ours=ours: ours.advance(_STEPS_ON_GPU),
        }
        report(title, side_by_side(synchronised(peers), rounds, clock=time.perf_counter), _STEPS_ON_GPU)


def synchronised(peers: Mapping[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """Wraps the steps so that each waits for the GPU at its end."""

    def waited(run: Callable[[], object]) -> None:
        run()
        torch.cuda.synchronize()

    return {name: partial(waited, run) for name, run in peers.items()}


def main(rounds: int, device: str) -> None:
    if device == "cuda":
        on_gpu(rounds)
        return
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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2] if len(sys.argv) > 2 else "cpu")
