"""Minibatches: shuffled epochs contain every sample once, resume bit for bit, and are independent per replicate."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from gramtune.components import Dataset
from gramtune.registry import classes
from gramtune.training.batches import BATCHES, Batches, Epochs, Sampling, WithReplacement
from gramtune.training.config import TrialConfig
from gramtune.training.seeds import stream
from gramtune.training.trainer import CheckpointError, Trainer

Settings = dict[str, Any]


def epochs(n: int, size: int, *seeds: int) -> Epochs:
    return Epochs(n, size, [stream(seed, "batches") for seed in seeds or (0,)])


def drawn(batches: Batches, steps: int) -> Tensor:
    """The minibatches of some steps, one after another: [R, steps·B]."""
    found = []
    for _ in range(steps):
        batches.prepare()
        found.append(batches.indices().clone())
    return torch.cat(found, dim=1)


@pytest.mark.parametrize(("n", "size"), [(12, 4), (10, 4), (7, 7), (7, 5), (5, 1)])
def test_every_epoch_holds_every_sample_once(n: int, size: int) -> None:
    """Also where a minibatch crosses the border of two epochs: nothing is dropped and nothing repeated."""
    rows = drawn(epochs(n, size, 0, 1), 3 * n)
    assert rows.shape == (2, 3 * n * size)
    for row in rows:
        whole = row.unflatten(0, (3 * size, n))
        assert whole.sort(dim=1).values.tolist() == [list(range(n))] * (3 * size)
        if n > 1:
            assert len({tuple(epoch) for epoch in whole.tolist()}) > 1, "epochs are shuffled anew"


def test_replicates_have_their_own_order_whoever_is_beside_them() -> None:
    together = drawn(epochs(10, 4, 3, 4, 5), 8)
    assert not torch.equal(together[0], together[1])
    for i, seed in enumerate((3, 4, 5)):
        assert torch.equal(drawn(epochs(10, 4, seed), 8)[0], together[i])


def test_indices_keep_their_address() -> None:
    """A recorded graph reads where it read when it was recorded."""
    batches = epochs(10, 4)
    addresses = {(batches.prepare(), batches.indices().data_ptr())[1] for _ in range(9)}
    assert len(addresses) == 1


@pytest.mark.parametrize("before", range(8))
def test_a_restored_order_goes_on(before: int) -> None:
    """From every position of an epoch, its ends included."""
    first, second = stream(0, "batches"), stream(99, "batches")
    whole = Epochs(9, 3, [first])
    for _ in range(before):
        whole.prepare()
    saved, at = copy.deepcopy(whole.state_dict(0)), first.get_state()
    expected = drawn(whole, 7)
    resumed = Epochs(9, 3, [second])
    drawn(resumed, 2)
    resumed.load_state_dict(0, saved)
    assert torch.equal(second.get_state(), at)
    assert torch.equal(drawn(resumed, 7), expected)


def test_a_batch_is_no_larger_than_an_epoch() -> None:
    with pytest.raises(ValueError, match="batch_size = 8 should be at most the 7 training samples"):
        epochs(7, 8)


def test_draws_with_replacement_are_as_they_were() -> None:
    """Published numbers depend on them."""
    batches = WithReplacement(50, 6, [stream(seed, "batches") for seed in (0, 1)])
    found = drawn(batches, 3)
    for i in range(2):
        rng = stream(i, "batches")
        assert found[i].tolist() == [j for _ in range(3) for j in torch.randint(50, (6,), generator=rng).tolist()]


def test_every_sampling_is_legal_in_a_configuration() -> None:
    assert set(get_args(Sampling)) == set(BATCHES)


@pytest.mark.parametrize("name", ["ring", "gaussian", "digits"])
def test_the_size_of_a_training_set_is_that_of_its_tensor(name: str) -> None:
    data = classes(Dataset)[name]()
    assert data.train_size(Path("unused")) == len(data.train(Path("unused")))


# In training


def trainer(settings: Settings, **training: Any) -> Trainer:
    config = TrialConfig.model_validate(settings | {"training": settings["training"] | training})
    return Trainer(config, Path("unused"), torch.device("cpu"))


def states(trained: Trainer) -> list[dict[str, Any]]:
    return [_plain(trained.replicates.state_dict(i)) for i in range(len(trained.replicates))]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.tolist() if isinstance(value, Tensor) else value


OBJECTIVES: dict[str, Settings] = {
    "joint": {"name": "gram", "critic_dim": 3, "bandwidths": [1.0]},
    "in turn": {"name": "mmd_gan", "critic_dim": 3, "critic_iterations": 2, "boosted_steps": 0, "boost_every": None},
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_trial_in_epochs_resumes_bit_for_bit(objective: str, ring_config: Settings, tmp_path: Path) -> None:
    settings = ring_config | {"objective": OBJECTIVES[objective]}
    whole = trainer(settings, sampling="epochs", batch_size=150)
    whole.advance(3)
    whole.save(tmp_path / "trainer.pt")
    reported = whole.advance(5)
    resumed = trainer(settings, sampling="epochs", batch_size=150)
    resumed.advance(2)
    resumed.load(tmp_path / "trainer.pt")
    assert resumed.advance(5) == reported
    assert states(resumed) == states(whole)
    assert states(trainer(settings, batch_size=150)) != states(whole)


def test_a_replicate_in_epochs_equals_a_solo_run(ring_config: Settings) -> None:
    together = trainer(ring_config, sampling="epochs", batch_size=150, replicates=3)
    together.advance(6)
    for i in range(3):
        alone = trainer(ring_config, sampling="epochs", batch_size=150, replicates=1, seed=5 + i)
        alone.advance(6)
        assert states(alone) == states(together)[i : i + 1]


def test_a_step_uses_one_batch(ring_config: Settings) -> None:
    """500 points in batches of 100: the first epoch ends after five joint steps, and after two of 2 + 1 steps."""
    joint = trainer(ring_config, sampling="epochs", batch_size=100)
    joint.advance(5)
    assert [state["batches"]["position"] for state in states(joint)] == [500, 500]
    in_turn = trainer(ring_config | {"objective": OBJECTIVES["in turn"]}, sampling="epochs", batch_size=100)
    in_turn.advance(2)
    assert [state["batches"]["position"] for state in states(in_turn)] == [100, 100]


def test_a_checkpoint_of_another_sampling_is_refused(ring_config: Settings, tmp_path: Path) -> None:
    for saved, loaded in (("epochs", "with_replacement"), ("with_replacement", "epochs")):
        trainer(ring_config, sampling=saved).save(tmp_path / "trainer.pt")
        with pytest.raises(CheckpointError, match=f"the checkpoint was written with training.sampling = {saved}"):
            trainer(ring_config, sampling=loaded).load(tmp_path / "trainer.pt")


def test_a_checkpoint_without_batches_is_with_replacement(ring_config: Settings) -> None:
    """Earlier versions wrote such checkpoints."""
    whole = trainer(ring_config)
    whole.advance(2)
    saved = copy.deepcopy(whole.state_dict())
    for state in saved["replicates"]:
        del state["batches"]
    resumed = trainer(ring_config)
    resumed.load_state_dict(saved)
    assert resumed.advance(2) == whole.advance(2)
