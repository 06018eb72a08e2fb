"""Tests that need a GPU: steps as CUDA graphs equal plain steps, and do not wait for the CPU."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gramtune.components import Losses, Objective, View
from gramtune.data.ring import Ring
from gramtune.objectives.gram import Gram
from gramtune.registry import classes
from gramtune.stats.ratio_matching import mmd2_and_ratios
from gramtune.training.config import TrialConfig
from gramtune.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
Fitting = Callable[..., TrialConfig | None]
NAMES = list(classes(Objective))


@pytest.fixture(autouse=True)
def _the_same_kernels_each_time() -> Iterator[None]:
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = False


def trainer(config: TrialConfig, graphs: bool = True) -> Trainer:
    trained = Trainer(config, Path("unused"), torch.device("cuda"))
    if not graphs:
        trained.replicates.graphs = None
    return trained


def state(trained: Trainer) -> dict[str, Any]:
    """Everything that training needs, as plain lists: NaN apart, equal if and only if the bits are."""
    return {key: _plain(value) for key, value in trained.state_dict().items() if key != "seconds"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.cpu().tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("network", ["mlp", "dcgan", "full_conv", "mnist_conv"])
@pytest.mark.parametrize("name", NAMES)
def test_steps_in_graphs_are_the_plain_steps(name: str, network: str, fitting: Fitting) -> None:
    """Bit for bit: weights, moments, random streams, traces; MMD-GAN's boosts among them."""
    config = fitting(name, network)
    if config is None:
        pytest.skip(f"{network} does not serve {name}: it has no decoder")
    plain, ours = trainer(config, graphs=False), trainer(config)
    for steps in (1, 5, 10):
        assert ours.advance(steps) == plain.advance(steps)
    assert ours.replicates.graphs is not None
    assert ours.replicates.graphs.recorded
    assert state(ours) == state(plain)


@pytest.mark.parametrize(("n", "sigmas", "ridge"), [(30, (1.0,), 1e-3), (200, (1.0,), 1e-3), (64, (1.0, 4.0), 0.1)])
def test_feature_heads_agree_on_gpu_and_cpu(n: int, sigmas: tuple[float, ...], ridge: float) -> None:
    """MMD², ratios and all gradients, in float64."""
    rng = torch.Generator().manual_seed(n)
    points = [torch.randn(3, n, 5, dtype=torch.float64, generator=rng) for _ in range(2)]
    weights = torch.randn(3, len(sigmas), n, dtype=torch.float64, generator=rng)
    found = []
    for device in ("cpu", "cuda"):
        f_q, f_p = (each.to(device).requires_grad_() for each in points)
        mmd, ratios = mmd2_and_ratios(f_q, f_p, sigmas, ridge)
        loss = mmd.sum() + (ratios * weights.to(device)).sum()
        found.append([value.detach().cpu() for value in (mmd, ratios, *torch.autograd.grad(loss, (f_q, f_p)))])
    for on_gpu, on_cpu in zip(*found, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", ["mlp", "dcgan"])
def test_a_replicate_on_a_gpu_is_about_its_solo_run(name: str, network: str, fitting: Fitting) -> None:
    """To rounding, as libraries choose other kernels for other batches; on a CPU bit for bit."""
    config = fitting(name, network)
    assert config is not None

    def trained(seed: int, replicates: int) -> dict[str, list[float | None]]:
        training = config.training.model_copy(update={"seed": seed, "replicates": replicates})
        return trainer(config.model_copy(update={"training": training})).advance(6)

    together = trained(5, 3)
    for i in range(3):
        for key, (value,) in trained(5 + i, 1).items():
            assert value == pytest.approx(together[key][i], rel=2e-2, abs=1e-3), key


@pytest.mark.parametrize("change", [{"preset": "flow"}, {"preset": "submission"}, {"bandwidths": [1.0, 2.0, 4.0]}])
def test_variants_of_gram_in_graphs(change: dict[str, Any], fitting: Fitting) -> None:
    config = fitting("gram")
    assert config is not None
    objective = Gram.model_validate({"critic_dim": 3, **change})
    config = config.model_copy(update={"objective": objective})
    plain, ours = trainer(config, graphs=False), trainer(config)
    assert ours.advance(12) == plain.advance(12)
    assert state(ours) == state(plain)


@pytest.mark.parametrize("name", ["gram", "mmd_gan"])
def test_epochs_in_graphs_are_the_plain_epochs(name: str, fitting: Fitting) -> None:
    """Batches of 200 of 500 points: an epoch ends within a batch, and after recording too."""
    config = fitting(name, "mlp")
    assert config is not None
    training = config.training.model_copy(update={"sampling": "epochs", "batch_size": 200})
    config = config.model_copy(update={"training": training, "data": Ring(n_train=500, n_held_out=300)})
    plain, ours = trainer(config, graphs=False), trainer(config)
    assert ours.advance(9) == plain.advance(9)
    saved = copy.deepcopy(ours.state_dict())
    assert ours.advance(7) == plain.advance(7)
    assert state(ours) == state(plain)
    resumed = trainer(config)
    resumed.load_state_dict(saved)
    resumed.advance(7)
    assert state(resumed) == state(ours)


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_trial_continues_bit_for_bit(name: str, fitting: Fitting) -> None:
    config = fitting(name)
    assert config is not None
    whole, resumed = trainer(config), trainer(config)
    whole.advance(7)
    saved = copy.deepcopy(whole.state_dict())
    resumed.advance(9)  # with graphs of its own, whose optimiser states are about to be replaced
    resumed.load_state_dict(saved)
    assert resumed.advance(8) == whole.advance(8)
    assert state(resumed) == state(whole)


def test_a_replicate_that_diverges_in_a_graph_ends_where_it_would_have(fitting: Fitting) -> None:
    """With the same reason at the same step, and the others go on with the same numbers."""
    config = fitting("gram")
    assert config is not None
    config = config.model_copy(update={"training": config.training.model_copy(update={"replicates": 3})})
    plain, ours = trainer(config, graphs=False), trainer(config)
    for trained in (plain, ours):
        trained.advance(10)
        with torch.no_grad():
            next(trained.replicates.network("generator", 1).parameters()).fill_(3e38)
    assert ours.advance(10) == plain.advance(10)
    assert plain.replicates.diverged[1] is not None
    assert ours.replicates.diverged == plain.replicates.diverged
    assert ours.advance(10) == plain.advance(10)
    assert ours.replicates.graphs is not None
    assert ours.replicates.graphs.recorded  # the two that are left have graphs again
    assert [_plain(ours.replicates.state_dict(i)) for i in (0, 2)] == [
        _plain(plain.replicates.state_dict(i)) for i in (0, 2)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_cpu_waits_for_the_gpu_no_more_often_for_more_steps(name: str, fitting: Fitting) -> None:
    config = fitting(name)
    assert config is not None
    trained = trainer(config)
    trained.advance(5)
    with _waits() as few:
        trained.advance(5)
    with _waits() as many:
        trained.advance(100)
    assert len(many) <= len(few) < 5


@contextmanager
def _waits() -> Iterator[list[warnings.WarningMessage]]:
    """One warning for each time that the CPU waited for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode("default")


class Looking(Gram):
    """GRAM as a beginner might write it: it looks at a value in the middle of a step."""

    def losses(self, real: View, fake: View) -> Losses:
        losses = super().losses(real, fake)
        assert losses.generator.sum().item() == losses.generator.sum().item()
        return losses


def test_an_objective_that_no_graph_can_hold_is_trained_without(fitting: Fitting) -> None:
    config = fitting("gram")
    assert config is not None
    looking = Looking.model_validate({"critic_dim": 3, "bandwidths": [1.0]})
    config = config.model_copy(update={"objective": looking})
    plain, ours = trainer(config, graphs=False), trainer(config)
    with pytest.warns(UserWarning, match="joint step cannot become a CUDA graph"):
        traces = ours.advance(10)
    assert traces == plain.advance(10)
    assert state(ours) == state(plain)
