"""Spectral normalisation and parametrisation: the layers, and when training updates their vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gramtune.networks._spectral import SpectralConv2d, SpectralLinear, normalised, spectral_layers
from gramtune.training.config import TrialConfig
from gramtune.training.networks import Stack, differentiate
from gramtune.training.perceptron import is_perceptron
from gramtune.training.trainer import Trainer

Settings = dict[str, Any]
KINDS = ["normalised", "learned_scale"]


def layer(kind: type, *args: int, learned: bool = False, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    made = kind(*args, learned_scale=learned).double()
    nn.init.normal_(made.weight)
    made.initialise(torch.Generator().manual_seed(seed))
    return made


def norm(weight: Tensor) -> float:
    return torch.linalg.matrix_norm(weight.flatten(1), ord=2).item()


@pytest.mark.parametrize(
    ("kind", "args"), [(SpectralLinear, (5, 4)), (SpectralLinear, (5, 1)), (SpectralConv2d, (2, 3, 3))]
)
def test_the_weight_gets_norm_one_or_the_learned_scale(kind: type, args: tuple[int, ...]) -> None:
    plain, scaled = layer(kind, *args), layer(kind, *args, learned=True)
    with torch.no_grad():
        scaled.scale.fill_(2.5)
    for made in (plain, scaled):
        for _ in range(200):
            made.iterate()
    for made, expected in ((plain, 1.0), (scaled, 2.5)):
        effective = normalised(made.weight, made.left, made.right, made.scale)
        assert norm(effective) == pytest.approx(expected, rel=1e-6)
        assert norm(made.weight) != pytest.approx(expected, rel=0.05)


def test_the_layer_is_torch_s_own_with_that_weight() -> None:
    x, made = torch.randn(2, 2, 6, 6, dtype=torch.float64), layer(SpectralConv2d, 2, 3, 3)
    effective = normalised(made.weight, made.left, made.right, None)
    torch.testing.assert_close(made(x), nn.functional.conv2d(x, effective, made.bias))


def test_the_gradient_takes_the_norm_into_account() -> None:
    """W/‖W‖ does not change along W, so the gradient has no part along it: with converged vectors."""
    made = layer(SpectralLinear, 5, 4)
    for _ in range(300):
        made.iterate()
    x = torch.randn(7, 5, dtype=torch.float64)
    (found,) = torch.autograd.grad(made(x).square().sum(), made.weight)
    assert (found * made.weight).sum().abs() < 1e-8 * found.norm() * made.weight.norm()
    effective = lambda w: w / torch.linalg.matrix_norm(w, ord=2)  # noqa: E731
    (exact,) = torch.autograd.grad((x @ effective(made.weight).T + made.bias).square().sum(), made.weight)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("learned", [False, True])
def test_batched_perceptrons_are_the_networks(learned: bool) -> None:
    def chains() -> list[nn.Module]:
        return [
            nn.Sequential(
                layer(SpectralLinear, 4, 6, learned=learned, seed=i),
                nn.ReLU(),
                layer(SpectralLinear, 6, 1, learned=learned, seed=9 + i),
            )
            for i in range(3)
        ]

    plain, stack = chains(), Stack(chains())
    assert is_perceptron(list(plain[0].children()))  # so the stack batches its layers
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    expected = torch.stack([net(batch) for net, batch in zip(plain, x, strict=True)])
    (out,) = stack(x)
    torch.testing.assert_close(out, expected)
    differentiate([stack], out.square().sum(dim=(1, 2)), retain=False)
    for i, net in enumerate(plain):
        wanted = torch.autograd.grad(expected[i].square().sum(), list(net.parameters()), retain_graph=True)
        flat = torch.cat([g.flatten() for g in wanted])
        torch.testing.assert_close(stack.gradient[i, : len(flat)], flat)


def trained(settings: Settings, spectral: str, replicates: int = 2, seed: int = 5, steps: int = 3) -> Trainer:
    settings = settings | {
        "objective": {"name": "gan", "loss": "hinge", "critic_iterations": 2},
        "network": settings["network"] | {"spectral": spectral, "norm": "none"},
        "training": settings["training"] | {"replicates": replicates, "seed": seed},
    }
    found = Trainer(TrialConfig.model_validate(settings), Path("unused"), torch.device("cpu"))
    found.advance(steps)
    assert found.replicates.diverged == [None] * replicates
    return found


def critic(found: Trainer, i: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = found.replicates.state_dict(i)["networks"]["critic"]
    return state


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(params=["mlp", "dcgan"])
def settings(request: pytest.FixtureRequest, ring_config: Settings, digits_config: Settings) -> Settings:
    return ring_config if request.param == "mlp" else digits_config


@pytest.mark.parametrize("spectral", KINDS)
def test_a_replicate_equals_its_solo_run_and_a_resumed_one(settings: Settings, spectral: str, tmp_path: Path) -> None:
    together = trained(settings, spectral)
    assert any("left" in name for name in critic(together, 0))
    assert any("scale" in name for name in critic(together, 0)) == (spectral == "learned_scale")
    for i in range(2):
        assert same(critic(trained(settings, spectral, replicates=1, seed=5 + i), 0), critic(together, i))
    half = trained(settings, spectral, steps=1)
    half.save(tmp_path / "x.ckpt")
    resumed = trained(settings, spectral, steps=0)
    resumed.load(tmp_path / "x.ckpt")
    resumed.advance(2)
    assert all(same(critic(resumed, i), critic(together, i)) for i in range(2))


def test_vectors_move_once_per_critic_step_and_nowhere_else(
    ring_config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    iterate = SpectralLinear.iterate
    monkeypatch.setattr(SpectralLinear, "iterate", lambda self: (calls.append(1), iterate(self))[0])
    found = trained(ring_config, "normalised", replicates=1, steps=0)
    layers = len(spectral_layers(found.replicates.network("critic", 0)))
    calls.clear()
    found.advance(3)
    assert len(calls) == 3 * 2 * layers == 18
    found.evaluate()
    found.monitor()
    assert len(calls) == 18


def test_the_generator_is_not_normalised(ring_config: Settings) -> None:
    found = trained(ring_config, "normalised", steps=0)
    assert not spectral_layers(found.replicates.network("generator", 0))


def test_a_diverged_replicate_keeps_its_vectors(ring_config: Settings) -> None:
    found = trained(ring_config, "normalised")
    found.replicates.end(1, "for the test")
    before = [{name: value.clone() for name, value in critic(found, i).items()} for i in range(2)]
    found.advance(2)
    assert not same(critic(found, 0), before[0])
    assert same(critic(found, 1), before[1])
