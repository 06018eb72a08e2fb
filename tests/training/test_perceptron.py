"""The batched perceptrons against the same networks run by torch, one after the other."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, weight_norm

from gramtune.stats.rounding import product
from gramtune.training.networks import Stack, differentiate
from gramtune.training.perceptron import is_perceptron

R, B = 3, 5
CHAINS = {
    "as the ring's": lambda: [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)],
    "without biases": lambda: [nn.Linear(4, 6, bias=False), nn.LeakyReLU(0.2), nn.Linear(6, 2, bias=False)],
    "pointwise at both ends": lambda: [nn.Tanh(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.LeakyReLU(0.0)],
    "images to images": lambda: [nn.Flatten(), nn.Linear(4, 8), nn.Unflatten(1, (2, 2, 2)), nn.Tanh()],
    "pointwise before the flattening": lambda: [nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)],
    "no pointwise layer": lambda: [nn.Linear(4, 2)],
    "pointwise twice": lambda: [nn.Linear(4, 6), nn.Tanh(), nn.ReLU(), nn.Linear(6, 2)],
}


def networks(chain):
    torch.manual_seed(0)
    return [nn.Sequential(*CHAINS[chain]()).double() for _ in range(R)]


def batches(chain, count=2):
    shape = (1, 2, 2) if "mages" in chain or "flattening" in chain else (4,)
    rng = torch.Generator().manual_seed(1)
    sizes = (B, B + 2)[:count]
    return [torch.randn(R, size, *shape, dtype=torch.float64, generator=rng).requires_grad_() for size in sizes]


def loss(outputs):
    """[R], not linear, and different for each batch."""
    return sum((i + out).square().flatten(1).mean(dim=1) for i, out in enumerate(outputs, start=1))


@pytest.mark.parametrize("chain", CHAINS)
def test_outputs_and_gradients_are_those_of_the_networks(chain):
    plain, stack = networks(chain), Stack(networks(chain))
    theirs, mine = batches(chain), batches(chain)
    expected = [torch.stack([net(x) for net, x in zip(plain, batch, strict=True)]) for batch in theirs]
    outputs = stack(*mine)
    torch.testing.assert_close(outputs, tuple(expected), rtol=1e-12, atol=1e-12)

    of_inputs = torch.autograd.grad(loss(outputs).sum(), mine, retain_graph=True)
    wanted = torch.autograd.grad(loss(expected).sum(), [*theirs, *(p for net in plain for p in net.parameters())])
    torch.testing.assert_close(of_inputs, wanted[:2], rtol=1e-12, atol=1e-12)
    assert not stack.gradient.any()  # that pass was not for the parameters

    norms = differentiate([stack], loss(outputs), retain=False)
    for i, (net, start) in enumerate(zip(plain, range(2, len(wanted), len(list(plain[0].parameters()))), strict=True)):
        flat = torch.cat([g.flatten() for g in wanted[start : start + len(list(net.parameters()))]])
        torch.testing.assert_close(stack.gradient[i, : len(flat)], flat, rtol=1e-12, atol=1e-12)
        assert not stack.gradient[i, len(flat) :].any()
        assert norms[i].item() == pytest.approx(flat.norm().item(), rel=1e-12)


def test_only_what_is_trained_is_differentiated():
    """The second batch comes from something that is trained, the first does not: its gradient is not asked for."""
    data, generated = batches("as the ring's")
    stack, data = Stack(networks("as the ring's")), data.detach()
    outputs = stack(data, generated)
    (got,) = torch.autograd.grad(loss(outputs).sum(), [generated])
    alone = generated.detach().requires_grad_()
    (expected,) = torch.autograd.grad((2 + stack(alone)[0]).square().flatten(1).mean(dim=1).sum(), [alone])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert data.grad is None


def test_applied_twice_in_one_graph_its_gradients_add_up():
    once, twice = Stack(networks("as the ring's")), Stack(networks("as the ring's"))
    differentiate([once], loss(once(*batches("as the ring's"))), retain=False)
    differentiate([twice], loss([twice(batch)[0] for batch in batches("as the ring's")]), retain=False)
    torch.testing.assert_close(twice.gradient, once.gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chain", ["as the ring's", "images to images", "no pointwise layer"])
def test_a_gradient_by_the_inputs_can_be_differentiated(chain):
    """A gradient penalty: the parameters' gradient of a function of the inputs' gradient."""
    plain, stack = networks(chain), Stack(networks(chain))
    (theirs,), (mine,) = batches(chain, 1), batches(chain, 1)

    def penalty(out, x):
        (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        return slope.square().flatten(1).sum(dim=1)

    differentiate([stack], penalty(stack(mine)[0], mine), retain=False)
    out = torch.stack([net(x) for net, x in zip(plain, theirs, strict=True)])
    parameters = [list(net.parameters()) for net in plain]
    wanted = torch.autograd.grad(
        penalty(out, theirs).sum(), [p for own in parameters for p in own], allow_unused=True, materialize_grads=True
    )
    for i in range(R):
        flat = torch.cat([g.flatten() for g in wanted[i * len(parameters[0]) : (i + 1) * len(parameters[0])]])
        torch.testing.assert_close(stack.gradient[i, : len(flat)], flat, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "k", "m"), [(4, 3, 5), (1, 3, 5), (4, 1, 5), (4, 3, 1), (1, 1, 1), (4, 1, 1)])
def test_a_product_and_its_derivatives_are_those_of_each_pair_alone(n, k, m):
    """Bit for bit, in float32, and equal to torch's own."""
    rng = torch.Generator().manual_seed(0)
    left, right = (torch.randn(R, *shape, generator=rng).requires_grad_() for shape in ((n, k), (k, m)))

    def derivatives(left, right):
        out = product(left, right)
        first = torch.autograd.grad(out.pow(3).sum(), (left, right), create_graph=True)
        return out, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), (left, right))

    together = derivatives(left, right)
    torch.testing.assert_close(together[0], left @ right)
    for i in range(R):
        for all_of_them, own in zip(together, derivatives(left[i : i + 1], right[i : i + 1]), strict=True):
            assert torch.equal(all_of_them[i : i + 1], own)


def test_a_loss_without_the_networks_is_refused():
    """As torch does: a gradient of zero would look as if it had been trained."""
    stack = Stack(networks("as the ring's"))
    with pytest.raises(RuntimeError, match="does not require grad"):
        differentiate([stack], torch.ones(R, dtype=torch.float64), retain=False)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(1, 1, 1), nn.BatchNorm1d(4), nn.Flatten(0), nn.Unflatten(2, (1, 2)), nn.GELU()],
)
def test_other_networks_are_left_to_torch(layer):
    assert not is_perceptron([nn.Linear(4, 4), layer])


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrised(layer):
    return parametrize.register_parametrization(layer, "weight", Doubled())


def hooked(layer):
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    return layer


class OwnLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("changed", [parametrised, hooked, weight_norm, lambda layer: OwnLinear(4, 4)])
def test_a_changed_linear_layer_is_left_to_torch(changed):
    """The batched product would drop the change: it knows weights and biases alone."""
    torch.manual_seed(0)
    networks = [nn.Sequential(changed(nn.Linear(4, 4)), nn.ReLU()) for _ in range(R)]
    assert not is_perceptron(list(networks[0]))
    x = torch.randn(R, B, 4)
    expected = torch.stack([network(batch) for network, batch in zip(networks, x, strict=True)])
    torch.testing.assert_close(Stack(networks)(x)[0], expected)
