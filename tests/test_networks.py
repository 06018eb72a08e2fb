"""The contract of generator/critic pairs on every shape that they serve, and the paper's tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gramtune.components import Component, Network, Shape
from gramtune.networks.dcgan import Dcgan, stages
from gramtune.networks.mlp import Mlp
from gramtune.registry import classes
from gramtune.training.seeds import stream

Small = Callable[[type[Component], str], dict[str, Any]]
SHAPES: list[Shape] = [(2,), (3,), (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]
NAMES = list(classes(Network))
K = 5


def makers(network: Network, shape: Shape) -> dict[str, Callable[[], nn.Module]]:
    """What the network can build for the shape, by label; empty if it refuses the shape."""
    builders: dict[str, Callable[[], nn.Module]] = {
        "generator": lambda: network.generator(shape),
        "critic": lambda: network.critic(shape, K),
        "decoder": lambda: network.decoder(shape, K),
    }
    return {label: maker for label, maker in builders.items() if serves(maker)}


def serves(maker: Callable[[], nn.Module]) -> bool:
    try:
        with torch.device("meta"):
            maker()
    except ValueError as error:
        return len(str(error).splitlines()) != 1  # a refusal takes one line; anything else fails where it is used
    return True


def build(network: Network, maker: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """As training does it: shapes on the meta device, memory, then `initialise`."""
    with torch.device("meta"):
        module = maker()
    module.to_empty(device="cpu")
    for tensor in module.state_dict().values():  # whatever `initialise` forgets stays visible
        tensor.fill_(float("nan") if tensor.is_floating_point() else 987)
    network.initialise(module, stream(seed, "test"))
    return module


def configured(name: str, small: Small) -> Network:
    return classes(Network)[name].model_validate(small(Network, name))


@pytest.mark.parametrize("name", NAMES)
def test_some_shape_is_served(name: str, small: Small) -> None:
    network = configured(name, small)
    served = {shape for shape in SHAPES if {"generator", "critic"} <= makers(network, shape).keys()}
    assert served


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_range(name: str, shape: Shape, small: Small) -> None:
    network = configured(name, small)
    if not (made := makers(network, shape)):
        return  # refused, in one line
    noise = network.noise(6, stream(0, "noise"))
    assert noise.shape == (6, network.noise_dim)
    samples = build(network, made["generator"])(noise)
    assert samples.shape == (6, *shape)
    assert samples.dtype == torch.float32
    if len(shape) == 3:
        assert samples.abs().max() <= 1
        loud = build(network, made["generator"])(noise * 1e6)
        assert loud.abs().max() <= 1
    projected = build(network, made["critic"])(samples)
    assert projected.shape == (6, K)
    assert projected.std() > 0
    if "decoder" in made:
        assert build(network, made["decoder"])(projected).shape == (6, *shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_initialise_fills_everything_from_its_own_generator(name: str, shape: Shape, small: Small) -> None:
    network = configured(name, small)
    if not (made := makers(network, shape)):
        return  # refused, in one line
    before = torch.random.get_rng_state()
    for label, maker in made.items():
        first, again, other = (build(network, maker, seed).state_dict() for seed in (0, 0, 1))
        assert first
        for key, tensor in first.items():
            assert tensor.isfinite().all(), f"{label}.{key} is not filled"
            assert not (tensor == 987).any(), f"{label}.{key} is not filled"
            assert torch.equal(tensor, again[key]), f"{label}.{key} is not reproducible"
        assert any(not torch.equal(first[key], other[key]) for key in first), f"{label} ignores its seed"
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator was used"


@pytest.mark.parametrize("name", NAMES)
def test_noise_comes_from_its_own_generator(name: str, small: Small) -> None:
    network = configured(name, small)
    before = torch.random.get_rng_state()
    rng = stream(0, "noise")
    first, second = network.noise(2000, rng), network.noise(2000, rng)
    assert torch.equal(first, network.noise(2000, stream(0, "noise")))
    assert not torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.mean().abs() < 0.1


def test_priors_are_the_papers() -> None:
    normal, uniform = Mlp().noise(4000, stream(0, "noise")), Dcgan().noise(4000, stream(0, "noise"))
    assert normal.std().item() == pytest.approx(1, abs=0.05)
    assert normal.abs().max() > 2
    assert uniform.std().item() == pytest.approx(3**-0.5, abs=0.01)
    assert uniform.abs().max() <= 1


@pytest.mark.parametrize(
    ("side", "expected"), [(8, (1, 4)), (16, (2, 4)), (28, (2, 7)), (32, (3, 4)), (48, (3, 6)), (64, (4, 4))]
)
def test_the_number_of_stages_follows_from_the_image(side: int, expected: tuple[int, int]) -> None:
    assert stages((3, side, side)) == expected


@pytest.mark.parametrize(
    "shape", [(2,), (3, 32, 64), (1, 4, 4), (1, 6, 6), (1, 7, 7), (1, 33, 33), (3, 36, 36)], ids=str
)
def test_dcgan_refuses_what_it_cannot_halve(shape: Shape) -> None:
    for build_ in (Dcgan().generator, lambda shape: Dcgan().critic(shape, 2)):
        with pytest.raises(ValueError, match="network dcgan"):
            build_(shape)


# Parameter counts, from the sizes in the paper's tables.


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def linear(fan_in: int, fan_out: int) -> int:
    return fan_in * fan_out + fan_out


def conv(channels_in: int, channels_out: int, kernel: int = 4) -> int:
    return channels_in * channels_out * kernel**2 + channels_out


def batch_norm(channels: int) -> int:
    return 2 * channels


def test_generator_has_the_parameters_of_table_5() -> None:
    table = linear(128, 2048) + batch_norm(128)
    table += conv(128, 64) + batch_norm(64) + conv(64, 32) + batch_norm(32) + conv(32, 3)
    assert table == 430_115
    assert count(Dcgan().generator((3, 32, 32))) == table


def test_critic_has_the_parameters_of_table_6() -> None:
    """BatchNorm follows every convolution but the first."""
    table = conv(3, 32) + conv(32, 64) + batch_norm(64) + conv(64, 128) + batch_norm(128) + linear(2048, 128)
    assert table == 428_256
    assert count(Dcgan().critic((3, 32, 32), 128)) == table


def test_dcgan_layers_are_those_of_tables_5_and_6() -> None:
    generator, critic = Dcgan().generator((3, 32, 32)), Dcgan().critic((3, 32, 32), 128)
    assert [tuple(p.shape) for p in generator.parameters() if p.dim() > 1] == [
        (2048, 128),
        (128, 64, 4, 4),
        (64, 32, 4, 4),
        (32, 3, 4, 4),
    ]
    assert [tuple(p.shape) for p in critic.parameters() if p.dim() > 1] == [
        (32, 3, 4, 4),
        (64, 32, 4, 4),
        (128, 64, 4, 4),
        (128, 2048),
    ]
    assert {m.stride for m in (*generator, *critic) if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)} == {(2, 2)}
    assert isinstance(generator[-1], nn.Tanh)
    assert [m.negative_slope for m in critic if isinstance(m, nn.LeakyReLU)] == [0.2] * 3


def test_mlp_is_the_ring_pair_of_the_paper() -> None:
    """h-100-100-2 and 2-100-100-K, Fig. 1 and 2."""
    assert count(Mlp(noise_dim=2).generator((2,))) == linear(2, 100) + linear(100, 100) + linear(100, 2)
    assert count(Mlp().critic((2,), 10)) == linear(2, 100) + linear(100, 100) + linear(100, 10)


def test_dcgan_weights_have_the_stated_spread() -> None:
    generator = build(Dcgan(), lambda: Dcgan().generator((3, 32, 32)))
    weights: list[Tensor] = [m.weight for m in generator.modules() if isinstance(m, nn.Linear | nn.ConvTranspose2d)]
    assert [w.std().item() for w in weights] == pytest.approx([0.02] * 4, rel=0.05)
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert torch.cat([m.weight for m in norms]).mean().item() == pytest.approx(1, abs=0.01)
    assert all(not m.bias.any() for m in generator.modules() if isinstance(m, nn.Linear | nn.BatchNorm2d))
