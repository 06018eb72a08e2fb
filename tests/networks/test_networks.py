"""The contract of generator/critic pairs for every supported shape, and the paper's tables."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gramtune.components import Component, Network, Shape
from gramtune.networks.dcgan import Dcgan, stages
from gramtune.networks.full_conv import FullConv
from gramtune.networks.mlp import Mlp
from gramtune.networks.mnist_conv import MnistConv
from gramtune.networks.resnet import Block
from gramtune.registry import classes
from gramtune.training.seeds import stream

Small = Callable[[type[Component], str], dict[str, Any]]
SHAPES: list[Shape] = [(1,), (2,), (3,), (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]
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
        decoded = build(network, made["decoder"])(projected)
        assert decoded.shape == (6, *shape)
        assert len(shape) == 1 or build(network, made["decoder"])(projected * 1e6).abs().max() <= 1


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


@pytest.mark.parametrize(
    ("normal_", "uniform_"),
    [
        (Mlp(), Dcgan()),
        (FullConv(), MnistConv()),
        (Dcgan(prior="normal"), Mlp(prior="uniform")),
        (MnistConv(prior="normal"), FullConv(prior="uniform")),
    ],
    ids=["papers", "papers 2", "changed", "changed 2"],
)
def test_priors_are_the_papers(normal_: Network, uniform_: Network) -> None:
    normal, uniform = normal_.noise(4000, stream(0, "noise")), uniform_.noise(4000, stream(0, "noise"))
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


@pytest.mark.parametrize("shape", [(2,), (3, 32, 64), (1, 4, 4), (1, 28, 28), (3, 48, 48), (3, 33, 33)], ids=str)
def test_full_conv_refuses_what_does_not_halve_to_four(shape: Shape) -> None:
    network = FullConv()
    for build_ in (network.generator, lambda shape: network.critic(shape, 2), lambda shape: network.decoder(shape, 2)):
        with pytest.raises(ValueError, match=r"full_conv needs square images .* power of two from 8"):
            build_(shape)


@pytest.mark.parametrize("shape", [(2,), (1, 7, 7), (3, 32, 4)], ids=str)
def test_mnist_conv_refuses_what_it_cannot_halve_three_times(shape: Shape) -> None:
    for build_ in (MnistConv().generator, lambda shape: MnistConv().critic(shape, 2)):
        with pytest.raises(ValueError, match=r"mnist_conv needs images .* at least 8×8"):
            build_(shape)


# Parameter counts, from the sizes in the paper's tables.


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def linear(fan_in: int, fan_out: int) -> int:
    return fan_in * fan_out + fan_out


def conv(channels_in: int, channels_out: int, kernel: int = 4, *, bias: bool = True) -> int:
    return channels_in * channels_out * kernel**2 + bias * channels_out


def batch_norm(channels: int) -> int:
    return 2 * channels


def test_generator_has_the_parameters_of_table_5() -> None:
    table = linear(128, 2048) + batch_norm(128)
    table += conv(128, 64, bias=False) + batch_norm(64) + conv(64, 32, bias=False) + batch_norm(32) + conv(32, 3)
    assert table == 430_019
    assert count(Dcgan().generator((3, 32, 32))) == table


def test_critic_has_the_parameters_of_table_6() -> None:
    """BatchNorm follows every convolution but the first."""
    table = conv(3, 32) + conv(32, 64, bias=False) + batch_norm(64) + conv(64, 128, bias=False) + batch_norm(128)
    table += linear(2048, 128)
    assert table == 428_064
    assert count(Dcgan().critic((3, 32, 32), 128)) == table


def test_weak_critic_has_the_parameters_of_table_7() -> None:
    table = conv(3, 32) + conv(32, 32, bias=False) + batch_norm(32) + conv(32, 64, bias=False) + batch_norm(64)
    table += linear(1024, 128)
    assert table == 182_112
    assert count(Dcgan(critic_kind="weak").critic((3, 32, 32), 128)) == table
    assert count(Dcgan(critic_kind="weak").generator((3, 32, 32))) == count(Dcgan().generator((3, 32, 32)))


@pytest.mark.parametrize("side", [8, 16, 28, 32, 64])
def test_the_weak_critic_flattens_to_half_as_much(side: int) -> None:
    """Table 7 has three stages; with one, a rule that spares the first would leave the weak critic standard."""
    standard, weak = (Dcgan(critic_kind=kind).critic((1, side, side), K) for kind in ("standard", "weak"))
    flattened = [next(m.in_features for m in c.modules() if isinstance(m, nn.Linear)) for c in (standard, weak)]
    assert flattened[0] == 2 * flattened[1]


@pytest.mark.parametrize("kind", ["standard", "weak"])
def test_dcgan_decoder_mirrors_its_critic(kind: str) -> None:
    network = Dcgan.model_validate({"critic_kind": kind})
    critic, decoder = network.critic((3, 32, 32), K), network.decoder((3, 32, 32), K)
    there, back = ([tuple(p.shape) for p in n.parameters() if p.dim() > 1] for n in (critic, decoder))
    assert back == [there[-1][::-1], *there[-2::-1]]  # a transposed convolution's weight has its input first
    assert len(back) == 4


def test_mnist_critic_has_the_parameters_of_table_3() -> None:
    table = sum(conv(a, b, 3, bias=False) + batch_norm(b) for a, b in ((1, 16), (16, 32), (32, 32)))
    table += linear(288, 100)
    assert table == 43_028
    critic = MnistConv().critic((1, 28, 28), 100)
    assert count(critic) == table
    kinds = [type(layer) for layer in critic]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d] * 3 + [nn.Flatten, nn.Linear]


@pytest.mark.parametrize(
    "network",
    [MnistConv(generator_norm="none"), Mlp(noise_dim=100, hidden=(600, 600, 800))],
    ids=lambda network: network.name,
)
def test_mnist_generator_is_that_of_the_paper(network: Network) -> None:
    """100-600-600-800-784, appendix A.3."""
    table = linear(100, 600) + linear(600, 600) + linear(600, 800) + linear(800, 784)
    assert table == 1_529_984
    generator = network.generator((1, 28, 28))
    assert count(generator) == table
    assert sum(isinstance(layer, nn.ReLU) for layer in generator) == 3


def test_the_submission_s_mnist_generator_has_batch_norm_before_each_relu() -> None:
    generator = MnistConv().generator((1, 28, 28))
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 3 + [nn.Linear, nn.Tanh, nn.Unflatten]
    assert [type(layer) for layer in generator] == kinds


@pytest.mark.parametrize("name", NAMES)
def test_no_layer_before_batch_norm_has_a_bias(name: str) -> None:
    """Its gradient would be zero but for rounding, of which Adam makes steps of full size."""
    network, found = classes(Network)[name](), 0
    for shape in SHAPES:
        for maker in makers(network, shape).values():
            module = maker()
            for layer, after in pairwise(module if isinstance(module, nn.Sequential) else ()):
                if isinstance(after, nn.BatchNorm1d | nn.BatchNorm2d) and hasattr(layer, "bias"):
                    assert layer.bias is None
                    found += 1
            for block in (part for part in module.modules() if isinstance(part, Block)):
                assert (block.first.bias is None) == isinstance(block.between[0], nn.BatchNorm2d)
                found += 1
    assert found or name in ("mlp", "dirac")


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_five_by_five_kernels_halve_and_double_as_four_by_four_do(side: int) -> None:
    network, shape = Dcgan(kernel=5, width=4), (3, side, side)
    generator, critic = network.generator(shape), network.critic(shape, K)
    samples = generator(network.noise(2, stream(0, "noise")))
    assert samples.shape == (2, *shape)
    assert critic(samples).shape == (2, K)
    convolutions = [m for m in (*generator, *critic) if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert {m.kernel_size for m in convolutions} == {(5, 5)}


@pytest.mark.parametrize(
    ("shape", "k", "encoder", "decoder"),
    [
        ((1, 8, 8), 16, 17_408, 17_536),
        ((3, 32, 32), 128, 1_183_488, 1_183_616),
        ((3, 64, 64), 64, 3_281_664, 3_281_792),
    ],
    ids=str,
)
def test_full_conv_has_the_parameters_of_li_et_al(shape: Shape, k: int, encoder: int, decoder: int) -> None:
    """No biases; the decoder has a BatchNorm at 64 channels where the encoder's first convolution has none."""
    channels = {8: [64], 32: [64, 128, 256], 64: [64, 128, 256, 512]}[shape[1]]
    kernels = conv(shape[0], 64, bias=False) + conv(channels[-1], k, bias=False)
    kernels += sum(conv(c, 2 * c, bias=False) for c in channels[:-1])
    assert kernels + sum(map(batch_norm, channels[1:])) == encoder
    assert kernels + sum(map(batch_norm, channels)) == decoder
    network = FullConv(noise_dim=k)
    assert count(network.critic(shape, k)) == encoder
    assert count(network.decoder(shape, k)) == count(network.generator(shape)) == decoder


def test_full_conv_is_a_stack_of_convolutions() -> None:
    encoder, decoder = FullConv().critic((3, 32, 32), K), FullConv().decoder((3, 32, 32), K)
    kinds = [type(layer) for layer in encoder]
    assert kinds == [nn.Conv2d, nn.LeakyReLU] + [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 2 + [nn.Conv2d, nn.Flatten]
    there, back = ([tuple(p.shape) for p in n.parameters() if p.dim() > 1] for n in (encoder, decoder))
    assert back == there[::-1]
    assert [m.stride[0] for m in encoder.modules() if isinstance(m, nn.Conv2d)] == [2, 2, 2, 1]
    assert isinstance(decoder[-1], nn.Tanh)


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


def test_mlp_decoder_mirrors_its_critic() -> None:
    assert count(Mlp(critic_hidden=(20, 30)).decoder((2,), 5)) == linear(5, 30) + linear(30, 20) + linear(20, 2)


def test_dcgan_weights_have_the_stated_spread() -> None:
    generator = build(Dcgan(), lambda: Dcgan().generator((3, 32, 32)))
    weights: list[Tensor] = [m.weight for m in generator.modules() if isinstance(m, nn.Linear | nn.ConvTranspose2d)]
    assert [w.std().item() for w in weights] == pytest.approx([0.02] * 4, rel=0.05)
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert torch.cat([m.weight for m in norms]).mean().item() == pytest.approx(1, abs=0.01)
    assert all(not m.bias.any() for m in generator.modules() if isinstance(m, nn.Linear | nn.BatchNorm2d))
