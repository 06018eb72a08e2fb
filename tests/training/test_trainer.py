"""One trial without Ray: reproducible, resumable bit for bit, not changed by evaluation, and divergence is reported."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import pytest
import torch
from torch import Tensor

from gramtune.components import CriticSpec, Losses, Objective, View
from gramtune.objectives.gram import Gram
from gramtune.registry import classes
from gramtune.training.config import TrialConfig
from gramtune.training.evaluator import Evaluator
from gramtune.training.generator import draw_samples, load_generator
from gramtune.training.graphs import Graphs, Traces
from gramtune.training.real_data import extract
from gramtune.training.seeds import stream
from gramtune.training.trainer import CheckpointError, PerReplicate, Trainer

Settings = dict[str, Any]
Fitting = Callable[..., TrialConfig | None]
NAMES = list(classes(Objective))
CPU = torch.device("cpu")


def trainer(config: TrialConfig | Settings) -> Trainer:
    config = config if isinstance(config, TrialConfig) else TrialConfig.model_validate(config)
    return Trainer(config, Path("unused"), CPU)


def assert_same(a: Any, b: Any, place: str = "state") -> None:
    """Equal in structure and to the last bit."""
    assert type(a) is type(b), place
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}[{key!r}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{place}[{i}]")
    elif isinstance(a, Tensor):
        assert a.dtype == b.dtype, place
        assert torch.equal(a, b), place
    else:
        assert a == b, place


def training_state(trained: Trainer) -> dict[str, Any]:
    """A copy of everything but the clock."""
    clocks = ("seconds", "training_seconds")
    return copy.deepcopy({key: value for key, value in trained.state_dict().items() if key not in clocks})


def numbers(values: PerReplicate) -> list[float]:
    return [value for row in values.values() for value in row if value is not None]


# Resuming


@pytest.mark.parametrize("name", NAMES)
def test_resumed_equals_uninterrupted(name: str, fitting: Fitting, tmp_path: Path) -> None:
    """Weights, buffers, moments and random streams, and every number reported after the restart."""
    config = fitting(name)
    assert config is not None
    whole = trainer(config)
    whole.advance(3)
    whole.save(tmp_path / "trainer.pt")
    reported = whole.advance(4), whole.evaluate()

    resumed = trainer(config)
    resumed.advance(1)  # a reused actor has been elsewhere before
    resumed.load(tmp_path / "trainer.pt")
    assert resumed.step == 3
    assert (resumed.advance(4), resumed.evaluate()) == reported
    assert_same(training_state(resumed), training_state(whole))


@pytest.mark.parametrize("base", ["ring_config", "digits_config"])
def test_resume_restores_every_kind_of_state(base: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The witness for the test above: a checkpoint without any one of its parts resumes to other weights."""
    config = TrialConfig.model_validate(request.getfixturevalue(base))
    whole = trainer(config)
    whole.advance(3)
    saved = copy.deepcopy(whole.state_dict())
    whole.advance(3)
    for part in ("networks", "optimizers", "streams"):
        broken, fresh = copy.deepcopy(saved), trainer(config)
        for mine, other in zip(broken["replicates"], fresh.state_dict()["replicates"], strict=True):
            mine[part] = copy.deepcopy(other[part])
        fresh.load_state_dict(broken)
        fresh.advance(3)
        with pytest.raises(AssertionError):
            assert_same(training_state(fresh), training_state(whole))


@pytest.mark.parametrize("clock", ["seconds", "training_seconds"])
def test_the_clock_goes_on(clock: str, ring_config: Settings, tmp_path: Path) -> None:
    first, second = trainer(ring_config), trainer(ring_config)
    first.advance(3)
    first.save(tmp_path / "trainer.pt")
    second.load(tmp_path / "trainer.pt")
    assert getattr(second, clock) == getattr(first, clock) > 0
    second.advance(1)
    assert getattr(second, clock) > getattr(first, clock)


def test_a_changed_learning_rate_survives_a_restore(ring_config: Settings, tmp_path: Path) -> None:
    """Adam's step is proportional to the rate: from the same checkpoint, ten times the rate moves ten times as far."""
    slow = trainer(ring_config)
    slow.advance(3)
    slow.save(tmp_path / "trainer.pt")
    fast = trainer(ring_config | {"optimizer": {"name": "adam", "learning_rate": 1e-2}})
    fast.load(tmp_path / "trainer.pt")
    now = [list(trained.replicates.network("generator", 0).parameters()) for trained in (slow, fast)]
    start = [p.detach().clone() for p in now[0]]
    assert_same([p.detach() for p in now[1]], start)
    slow.advance(1)
    fast.advance(1)
    for before, near, far in zip(start, *now, strict=True):
        torch.testing.assert_close(far.detach() - before, 10 * (near.detach() - before), atol=1e-5, rtol=1e-3)
        assert not torch.equal(far, before)


def test_a_diverged_replicate_stays_diverged_after_a_restore(ring_config: Settings, tmp_path: Path) -> None:
    first, second = trainer(ring_config), trainer(ring_config)
    blow_up(first, 1)
    first.advance(2)
    first.save(tmp_path / "trainer.pt")
    second.load(tmp_path / "trainer.pt")
    assert second.replicates.diverged == [None, first.replicates.diverged[1]]
    assert second.advance(1)["loss/generator"][1] is None


# Checkpoint files


def test_a_checkpoint_holds_tensors_and_plain_values_only(digits_config: Settings, tmp_path: Path) -> None:
    trained = trainer(digits_config)
    trained.advance(1)
    trained.save(tmp_path / "trainer.pt", {"trial": "critic_dim=3", "reports": [1, 2.5, None]})
    content = torch.load(tmp_path / "trainer.pt", weights_only=True)
    assert_same(content["trainer"], trained.state_dict())
    assert trainer(digits_config).load(tmp_path / "trainer.pt") == {"trial": "critic_dim=3", "reports": [1, 2.5, None]}
    assert [file.name for file in tmp_path.iterdir()] == ["trainer.pt"]


@pytest.mark.parametrize("kept", [0, 1, 50, 0.5, 0.99, "text", "list", "missing"])
def test_a_damaged_checkpoint_is_one_line(kept: float | str, ring_config: Settings, tmp_path: Path) -> None:
    path = tmp_path / "trainer.pt"
    trained = trainer(ring_config)
    trained.save(path)
    whole = path.read_bytes()
    if kept == "missing":
        path.unlink()
    elif kept == "text":
        path.write_text("no checkpoint at all")
    elif kept == "list":
        torch.save([1, 2, 3], path)
    else:
        path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * float(kept))])
    with pytest.raises(CheckpointError) as caught:
        trained.load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"objective": {"name": "gram", "critic_dim": 4, "bandwidths": [1.0]}},
        {"objective": {"name": "mmd_net"}},
        {"network": {"name": "mlp", "hidden": [8], "critic_hidden": [8]}},
        {"training": {"batch_size": 16, "steps": 8, "eval_every": 4, "eval_samples": 100, "replicates": 2, "seed": 6}},
        {"training": {"batch_size": 16, "steps": 8, "eval_every": 4, "eval_samples": 100, "replicates": 3, "seed": 5}},
    ],
    ids=["K", "objective", "widths", "seed", "replicates"],
)
def test_a_checkpoint_of_another_trial_is_refused(change: Settings, ring_config: Settings, tmp_path: Path) -> None:
    path = tmp_path / "trainer.pt"
    for saved, loaded in ((ring_config, ring_config | change), (ring_config | change, ring_config)):
        trainer(saved).save(path)
        with pytest.raises(CheckpointError) as caught:
            trainer(loaded).load(path)
        assert len(str(caught.value).splitlines()) == 1


def test_saving_is_all_or_nothing(ring_config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up half-way leaves the checkpoint before it, and nothing else."""
    path = tmp_path / "trainer.pt"
    trained = trainer(ring_config)
    trained.save(path)
    before = path.read_bytes()
    trained.advance(1)

    def half(_state: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="no space left"):
        trained.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["trainer.pt"]
    assert path.read_bytes() == before


# Evaluation


@pytest.mark.parametrize("base", ["ring_config", "digits_config"])
def test_evaluation_never_disturbs_training(base: str, request: pytest.FixtureRequest) -> None:
    settings = request.getfixturevalue(base)
    quiet, watched = trainer(settings), trainer(settings)
    for _ in range(10):
        quiet.advance(1)
        watched.evaluate()
        watched.monitor()
        watched.advance(1)
        watched.preview(4)
        torch.rand(1)  # the global generator is nobody's
    assert_same(training_state(watched), training_state(quiet))


def test_ten_steps_are_ten_times_one_step(ring_config: Settings) -> None:
    at_once, singly = trainer(ring_config), trainer(ring_config)
    at_once.advance(10)
    for _ in range(10):
        singly.advance(1)
    assert_same(training_state(singly), training_state(at_once))


def test_traces_are_means_over_the_steps(ring_config: Settings) -> None:
    at_once, singly = trainer(ring_config), trainer(ring_config)
    means, rows = at_once.advance(4), [singly.advance(1) for _ in range(4)]
    for key, values in means.items():
        for i, value in enumerate(values):
            assert value == pytest.approx(sum(row[key][i] or 0 for row in rows) / 4, rel=1e-5)


def test_evaluation_repeats_itself(digits_config: Settings) -> None:
    trained = trainer(digits_config)
    trained.advance(2)
    first = trained.evaluate()
    assert trained.evaluate() == first
    assert [len(values) for values in first.values()] == [2]
    assert len(set(first["fid_digits"])) == 2


def test_points_are_monitored_on_a_batch_of_their_own(ring_config: Settings, digits_config: Settings) -> None:
    """The same batch at every call, the newest networks, and no image data."""
    trained = trainer(ring_config)
    first = trained.monitor()
    assert list(first) == ["trace/d_star", "trace/data_pearson_divergence"]
    assert [len(values) for values in first.values()] == [2, 2]
    assert all(len(set(numbers({key: values}))) == 2 for key, values in first.items())
    assert trained.monitor() == first
    trained.advance(1)
    assert trained.monitor() != first
    assert trainer(digits_config).monitor() == {}
    assert trainer(ring_config | {"objective": {"name": "gan"}}).monitor() == {}


def test_what_is_monitored_of_a_diverged_replicate_is_no_number(ring_config: Settings) -> None:
    trained = trainer(ring_config)
    blow_up(trained, 1)
    assert all(values[0] is not None and values[1] is None for values in trained.monitor().values())
    trained.advance(1)
    assert trained.replicates.diverged[0] is None
    assert all(values[0] is not None and values[1] is None for values in trained.monitor().values())


def test_previews_show_every_replicate(digits_config: Settings, ring_config: Settings) -> None:
    trained = trainer(digits_config)
    preview = trained.preview(3)
    assert preview is not None
    assert (preview.shape, preview.dtype) == ((6, 1, 8, 8), torch.uint8)
    assert torch.equal(preview, trained.preview(3))
    assert not torch.equal(preview[:3], preview[3:])
    assert trainer(ring_config).preview() is None


def test_a_sample_does_not_depend_on_its_chunk(digits_config: Settings) -> None:
    """BatchNorm on batch statistics would make metrics depend on how many samples are drawn together."""
    replicates = trainer(digits_config).replicates
    replicates.advance(2)
    torch.testing.assert_close(replicates.sample(20, chunk=7), replicates.sample(20), atol=1e-6, rtol=1e-5)
    assert replicates.network("generator", 0).training


def test_features_do_not_depend_on_the_batch_size(digits_config: Settings) -> None:
    config = TrialConfig.model_validate(digits_config)
    network = config.extractors["digits_cnn"].load(Path("unused"), CPU)
    samples = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = extract(network, samples)
    torch.testing.assert_close(extract(network, samples, chunk=3), whole, atol=1e-5, rtol=1e-5)


def test_generated_images_are_judged_as_files_would_be(digits_config: Settings) -> None:
    """Rounded to 8 bits, as the data are: otherwise a metric could see fractions that no image file has."""
    config = TrialConfig.model_validate(digits_config)
    evaluator = Evaluator(config, Path("unused"), CPU)
    samples = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rounded = ((samples + 1) * 127.5).round() / 127.5 - 1
    assert evaluator.scores(samples) == pytest.approx(evaluator.scores(rounded), rel=1e-6)


def test_held_out_data_score_better_than_noise(digits_config: Settings) -> None:
    config = TrialConfig.model_validate(digits_config)
    evaluator = Evaluator(config, Path("unused"), CPU)
    data = config.data.train(Path("unused"))[:500].float() / 127.5 - 1
    noise = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert evaluator.scores(data)["fid_digits"] < 0.1 * evaluator.scores(noise)["fid_digits"]


# Seeds


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
@pytest.mark.parametrize("name", NAMES)
def test_a_replicate_equals_a_solo_run(name: str, network: str, fitting: Fitting) -> None:
    """Bit for bit, whatever is trained beside it: three more replicates added later are those of a sweep of ten."""
    if (config := fitting(name, network)) is None:
        pytest.skip(f"{network} does not serve {name}")
    first, one_thread = config.training.seed, torch.get_num_threads()
    torch.set_num_threads(1)  # what a trial on one core has; more threads may cut one sum in other places
    try:
        together, scores = trained_alone(config, first, 5)
        for seed, replicates in ((first, 1), (first + 1, 3)):
            apart, own = trained_alone(config, seed, replicates)
            for i in range(replicates):
                assert_same(apart.replicates.state_dict(i), together.replicates.state_dict(seed - first + i))
            assert own == {key: values[seed - first :][:replicates] for key, values in scores.items()}
    finally:
        torch.set_num_threads(one_thread)


def trained_alone(config: TrialConfig, seed: int, replicates: int) -> tuple[Trainer, PerReplicate]:
    """After four steps, with its scores."""
    training = config.training.model_copy(update={"seed": seed, "replicates": replicates})
    trained = trainer(config.model_copy(update={"training": training}))
    trained.advance(4)
    return trained, trained.evaluate()


def test_replicates_differ(ring_config: Settings) -> None:
    """In their initial weights, not in their noise alone."""
    trained = trainer(ring_config)
    assert trained.replicates.seeds == (5, 6)
    assert parameters(trained, 0) != parameters(trained, 1)
    draws = torch.randn(4, 3, generator=stream(0, "test"))
    first, second = (trained.replicates.network("generator", i)(draws) for i in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(*trained.replicates.sample(5))


def test_streams_differ_by_purpose_and_seed() -> None:
    def draw(seed: int, purpose: str) -> list[float]:
        return torch.rand(3, generator=stream(seed, purpose)).tolist()

    draws = [draw(0, "noise"), draw(0, "batches"), draw(1, "noise")]
    assert draws[0] == draw(0, "noise")
    assert all(a != b for i, a in enumerate(draws) for b in draws[:i])


def test_trials_are_paired_across_critic_dimensions(ring_config: Settings) -> None:
    """Replicate i sees the same initial generator, noise and minibatches whatever K is: differences are K's alone."""
    first = [Recording.run(ring_config, critic_dim) for critic_dim in (2, 7)]
    assert len(first[0]) == 3
    for (real, fake), (other_real, other_fake) in zip(*first, strict=True):
        assert torch.equal(real, other_real)
        assert real.shape == fake.shape == other_fake.shape
    assert torch.equal(first[0][0][1], first[1][0][1])  # G(z) before anything has been learnt
    assert not torch.equal(first[0][2][1], first[1][2][1])
    states = []
    for critic_dim in (2, 7):
        trained = trainer(ring_config | {"objective": {"name": "gram", "critic_dim": critic_dim, "bandwidths": [1.0]}})
        trained.advance(3)
        states.append([trained.replicates.state_dict(i)["streams"] for i in range(2)])
    assert_same(states[0], states[1])


class Recording(Gram):
    """GRAM that keeps what it was given."""

    seen: ClassVar[list[tuple[Tensor, Tensor]]] = []

    def losses(self, real: View, fake: View) -> Losses:
        self.seen.append((real.samples.clone(), fake.samples.detach().clone()))
        return super().losses(real, fake)

    @classmethod
    def run(cls, settings: Settings, critic_dim: int) -> list[tuple[Tensor, Tensor]]:
        """(data, generated) of three steps."""
        cls.seen.clear()
        objective = cls.model_validate({"critic_dim": critic_dim, "bandwidths": [1.0]})
        replaced(settings, objective).advance(3)
        return list(cls.seen)


def replaced(settings: Settings, objective: Objective) -> Trainer:
    """A trainer with an objective that only this test knows."""
    return trainer(TrialConfig.model_validate(settings).model_copy(update={"objective": objective}))


# Divergence


def blow_up(trained: Trainer, index: int, value: float = 3e38) -> None:
    """Makes the samples of one replicate overflow."""
    with torch.no_grad():
        next(trained.replicates.network("generator", index).parameters()).fill_(value)


def parameters(trained: Trainer, index: int) -> list[bytes]:
    """Every parameter and buffer of generator and critic, NaN compared like any other pattern of bits."""
    state = trained.replicates.state_dict(index)["networks"]
    return [value.numpy().tobytes() for network in state.values() for value in network.values()]


def weights(trained: Trainer, index: int) -> list[bytes]:
    """Without the batch statistics, which the failing forward pass has moved."""
    networks = trained.replicates.stacks.values()
    return [p.detach().numpy().tobytes() for stack in networks for p in stack.networks[index].parameters()]


@pytest.mark.parametrize("name", NAMES)
def test_a_non_finite_loss_freezes_its_replicate_alone(name: str, fitting: Fitting) -> None:
    config = fitting(name)
    assert config is not None
    trained, undisturbed = trainer(config), trainer(config)
    blow_up(trained, 1, math.nan)
    if (bound := config.objective.critic_clamp) is not None:  # a critic step clamps before it has a loss
        with torch.no_grad():
            for parameter in trained.replicates.network("critic", 1).parameters():
                parameter.clamp_(-bound, bound)
    moved = weights(trained, 1)
    traces, expected = trained.advance(3), undisturbed.advance(3)

    assert "loss is nan at step 1" in (trained.replicates.diverged[1] or "")
    assert weights(trained, 1) == moved
    frozen = parameters(trained, 1)
    assert trained.replicates.generator_steps == [3, 0]
    assert {key: values[0] for key, values in traces.items()} == {key: values[0] for key, values in expected.items()}
    assert all(values[1] is None for values in traces.values())

    assert_same(trained.replicates.state_dict(0), undisturbed.replicates.state_dict(0))
    scores = trained.evaluate()
    assert [value for values in scores.values() for value in values[1:]] == [None] * len(scores)
    assert all(map(math.isfinite, numbers(traces) + numbers(scores)))
    assert not trained.done
    trained.advance(5)
    assert trained.done
    assert parameters(trained, 1) == frozen


def test_an_overflow_is_found_before_the_optimiser_moves(ring_config: Settings) -> None:
    """All parameters are finite; the samples are not."""
    trained = trainer(ring_config)
    blow_up(trained, 0)
    frozen = parameters(trained, 0)
    trained.advance(1)
    assert (trained.replicates.diverged[0] or "").endswith(" at step 1")
    assert parameters(trained, 0) == frozen
    assert trained.replicates.diverged[1] is None


class Launched:
    """Stands where CUDA graphs are on a GPU: steps run one after the other, and nobody looks at any of them."""

    def __init__(self, steps_between_checks: int = 500) -> None:
        self.steps_between_checks = steps_between_checks

    def run(self, label: str, step: Callable[[], Traces]) -> Traces:
        return step()

    def forget(self) -> None:
        pass


@pytest.mark.parametrize("name", NAMES)
def test_unwatched_steps_diverge_where_watched_steps_do(name: str, fitting: Fitting) -> None:
    """As on a GPU: one look after many steps, which are taken again where it finds something."""
    config = fitting(name)
    assert config is not None
    looked_at, launched = trainer(config), trainer(config)
    launched.replicates.graphs = cast(Graphs, Launched())
    assert launched.advance(5) == looked_at.advance(5)
    for trained in (looked_at, launched):
        blow_up(trained, 1)
    for steps in (3, 4):
        assert launched.advance(steps) == looked_at.advance(steps)
    assert looked_at.replicates.diverged[0] is None
    assert looked_at.replicates.diverged[1] is not None
    assert launched.replicates.diverged == looked_at.replicates.diverged
    assert parameters(launched, 0) == parameters(looked_at, 0)
    assert parameters(launched, 1) == parameters(looked_at, 1)


def test_what_was_summed_before_a_divergence_is_kept(ring_config: Settings) -> None:
    """The steps of a portion are taken again, those of earlier portions are not."""
    optimizer = {"name": "adam", "learning_rate": 1e4}  # one replicate of the two diverges, after three steps
    fast = ring_config | {"objective": {"name": "gan"}, "optimizer": optimizer}
    looked_at, launched = trainer(fast), trainer(fast)
    launched.replicates.graphs = cast(Graphs, Launched(steps_between_checks=2))
    assert launched.advance(60) == looked_at.advance(60)
    assert launched.replicates.generator_steps == looked_at.replicates.generator_steps
    assert any(2 < steps < 60 for steps in looked_at.replicates.generator_steps)


@pytest.mark.parametrize("name", NAMES)
def test_all_diverged_is_done_and_traces_are_of_the_steps_that_were_taken(name: str, fitting: Fitting) -> None:
    """A joint step is fine and moves everything to infinity; where steps alternate, the critic's alone does."""
    config = fitting(name)
    assert config is not None
    optimizer = config.optimizer.model_copy(update={"learning_rate": 1e38})
    trained, sane = trainer(config.model_copy(update={"optimizer": optimizer})), trainer(config)
    taken = 1 if config.objective.joint or config.objective.critic() is None else 0
    assert trained.advance(6) == (sane.advance(1) if taken else {})
    assert trained.replicates.generator_steps == [taken] * 2
    assert all((reason or "").endswith(f" at step {taken + 1}") for reason in trained.replicates.diverged)
    assert trained.step < config.training.steps
    assert trained.done
    assert (trained.evaluate(), trained.advance(1)) == ({}, {})


def test_a_critic_that_steps_first_is_a_critic_step_and_a_generator_step_on_one_batch(ring_config: Settings) -> None:
    """GRAMFlow's order. The critic's step is that of a joint step; the generator's loss is of the new critic."""
    objective = ring_config["objective"]
    together, first = (trainer(ring_config | {"objective": objective | {"critic_first": f}}) for f in (False, True))
    start = {label: parameters_of(first, label) for label in ("generator", "critic")}
    values = [trained.advance(1) for trained in (together, first)]
    assert values[0]["loss/critic"] == values[1]["loss/critic"]
    assert values[0]["loss/generator"] != values[1]["loss/generator"], "the new critic has measured it"
    assert torch.equal(parameters_of(together, "critic"), parameters_of(first, "critic"))
    assert not torch.equal(parameters_of(together, "generator"), parameters_of(first, "generator"))
    assert all(not torch.equal(start[label], parameters_of(first, label)) for label in start)


def parameters_of(trained: Trainer, label: str) -> Tensor:
    return torch.nn.utils.parameters_to_vector(trained.replicates.network(label, 0).parameters()).detach().clone()


@pytest.mark.parametrize(
    ("objective", "kept"), [("gram", False), ("gan", True), ("mmd_gan", True)], ids=["gram", "gan", "mmd_gan"]
)
def test_the_critic_has_an_output_bias_only_where_it_can_matter(objective: str, kept: bool, fitting: Fitting) -> None:
    config = fitting(objective)
    assert config is not None
    last = [m for m in trainer(config).replicates.network("critic", 0).modules() if isinstance(m, torch.nn.Linear)][-1]
    assert (last.bias is not None) == kept


@pytest.mark.parametrize("ema", [None, 0.9])
def test_samples_of_batch_statistics_are_made_in_batches_and_change_nothing(
    ema: float | None, digits_config: Settings, tmp_path: Path
) -> None:
    """Their averages too stay as they are, and the checkpoint gives the same samples."""
    training = digits_config["training"] | {"ema": ema}
    running, batchwise = (
        trainer(digits_config | {"training": training | {"eval_batch_statistics": own}}) for own in (False, True)
    )
    for trained in (running, batchwise):
        trained.advance(3)
    before = training_state(batchwise)
    batchwise.evaluate()
    assert_same(training_state(batchwise), before)
    averaged = ema is not None
    (ours, other), theirs = batchwise.replicates.sample(40, average=averaged), running.replicates.sample(40, "evaluate")
    assert not torch.equal(ours, theirs[0])
    few = batchwise.replicates.sample(16, average=averaged)[0]
    assert not torch.equal(few, ours[:16]), "two batches of 20 against one of 16"
    batchwise.save(tmp_path / "checkpoint")
    for i, samples in enumerate((ours, other)):
        generator = load_generator(batchwise.config, tmp_path / "checkpoint", i)
        seed = batchwise.replicates.seeds[i]
        assert torch.equal(
            draw_samples(batchwise.config, generator, 40, seed, "evaluate", torch.device("cpu")), samples
        )


class InfiniteSlope(Objective):
    """Both losses are finite, and so is the critic's gradient, but √ at 0 has none."""

    name: Literal["infinite_slope"] = "infinite_slope"

    def critic(self) -> CriticSpec | None:
        return CriticSpec(1)

    def losses(self, real: View, fake: View) -> Losses:
        assert real.features is not None
        return Losses(real.features.mean(dim=(-2, -1)), (fake.samples * 0).sum(dim=(-2, -1)).sqrt(), {})


def test_a_non_finite_gradient_moves_neither_network(ring_config: Settings) -> None:
    """In a joint step the critic must not move either: its checkpoint would be of no step at all."""
    trained = replaced(ring_config, InfiniteSlope())
    frozen = [parameters(trained, i) for i in range(2)]
    assert trained.advance(2) == {}
    assert trained.replicates.diverged == ["gradient norm of the generator is nan at step 1"] * 2
    assert [parameters(trained, i) for i in range(2)] == frozen


def test_non_finite_samples_end_the_replicate(ring_config: Settings) -> None:
    trained = trainer(ring_config)
    blow_up(trained, 1)
    scores = trained.evaluate()
    assert scores["sliced_wasserstein"][1] is None
    assert math.isfinite(scores["sliced_wasserstein"][0] or math.nan)
    assert trained.replicates.diverged == [None, "generated samples are not finite at step 0"]


def test_a_diverged_replicate_can_still_be_shown(digits_config: Settings) -> None:
    trained = trainer(digits_config)
    blow_up(trained, 1, math.nan)
    trained.advance(1)
    preview = trained.preview(2)
    assert preview is not None
    assert preview.shape == (4, 1, 8, 8)


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("widths", [[1], [1, 12], [8, 1, 8], [8, 8]], ids=str)
@pytest.mark.parametrize("name", ["gan", "gram"])
def test_a_replicate_equals_a_solo_run_where_a_layer_has_one_unit(
    name: str, widths: list[int], batch_size: int, ring_config: Settings
) -> None:
    """MKL rounds a batched product with a dimension of size 1 differently for one replicate and for several."""
    ring_config["objective"] = {"name": name} | ({"critic_dim": 1, "bandwidths": [1.0]} if name == "gram" else {})
    ring_config["network"] |= {"noise_dim": 1, "hidden": widths, "critic_hidden": widths[::-1]}
    ring_config["training"] |= {"batch_size": batch_size}
    config = TrialConfig.model_validate(ring_config)
    alone = [trained_alone(config, seed, 1) for seed in range(8)]
    for replicates in (2, 3, 5, 8):
        together, scores = trained_alone(config, 0, replicates)
        for i, (solo, own) in enumerate(alone[:replicates]):
            assert_same(solo.replicates.state_dict(0), together.replicates.state_dict(i))
            assert own == {key: values[i : i + 1] for key, values in scores.items()}
