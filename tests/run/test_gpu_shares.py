"""Trials that share a GPU: the memory limit of each, and what happens if one needs more."""

import pytest
import torch
from sweeps import SPACE, write_space

from gramtune.backends.ray import runner as ray_runner
from gramtune.backends.ray.trainable import GramTrainable
from gramtune.record.journal import load_state
from gramtune.record.report import Status
from gramtune.run import guarded_trial
from gramtune.run.capacity import Capacity, Node
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.gpu_shares import CONTEXT, GpuShares, memory_cap
from gramtune.run.trial_runner import TrialRun
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

GIB = 1 << 30


def test_a_share_doubles_up_to_a_gpu_of_its_own():
    shares = GpuShares(0.3)
    assert [shares.grow("a"), shares.grow("a"), shares.grow("a")] == [0.6, 1.0, None]
    assert (shares.of("a"), shares.of("b")) == (1.0, 0.3)
    assert GpuShares(2).grow("a") is None


@pytest.mark.parametrize("n", [1, 2, 4, 10])
def test_n_trials_with_an_nth_each_fit_together_with_cudas_own_part(n):
    total = 24 * GIB
    assert n * (memory_cap(1 / n, total) * total + CONTEXT) <= total * (1 + 1e-9)
    assert memory_cap(0.25, GIB) == 0.125


def greedy(needs):
    """A trainable whose trial runs out of memory on its second report with less than `needs[critic_dim]` of a GPU."""

    class Hungry(TrialRun):
        need = share = reports = 0

        def step(self):
            self.reports += 1
            if self.reports > 1 and self.need > self.share:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")
            return super().step()

    class Greedy(GramTrainable):
        def reset_config(self, new_config):
            trial = new_config["trial"]
            Hungry.need, Hungry.share = needs.get(trial["assignment"]["objective.critic_dim"], 0), trial["gpu"]
            guarded_trial.TrialRun = Hungry  # in the actor's process, which has one trial at a time
            return super().reset_config(new_config)

    return Greedy


@pytest.fixture
def one_gpu():
    """A Ray that believes in a GPU; one that is connected already is left."""
    from gramtune.backends.ray.quiet import ray

    if ray.is_initialized():
        pytest.skip("another Ray is connected to this process")
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield Capacity((Node(2, 1),))
    ray.shutdown()


@pytest.mark.slow
def test_out_of_memory_leaves_the_neighbours_alone_and_goes_again_with_more(one_gpu, tmp_path, monkeypatch):
    """Guards against the retry with the same share, which fails again, and against the sweep that never ends."""
    monkeypatch.setattr(ray_runner, "GramTrainable", greedy({1: 0.5, 16: 2}))
    path = write_space(tmp_path, SPACE.replace("gpu: 0", "gpu: 0.25"))
    state = load_state(tmp_path, make_plan(load_sweep(path), tmp_path))
    said = []
    ray_runner.RayRunner(said.append, capacity=one_gpu).run(Driver(state, tmp_path, NothingNew()))
    statuses = {name: record.status for name, record in state.records.items()}
    assert statuses == {
        "critic_dim=1": Status.COMPLETED,
        "critic_dim=4": Status.COMPLETED,
        "critic_dim=16": Status.FAILED,
    }
    reason = state.records["critic_dim=16"].reason
    assert reason == "out of memory: it asked for 2.00 GiB at once"
    assert said.count("critic_dim=1: out of memory with gpu: 0.25; it continues with gpu: 0.5") == 1
    assert said.count("critic_dim=16: out of memory with gpu: 0.5; it continues with gpu: 1") == 1
    assert len(said) == 3
    assert not load_state(tmp_path, state.plan).unfinished
