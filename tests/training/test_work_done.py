"""Amounts of work, which do not vary like times: operator calls of a step, waits for the device, disk accesses.

The ceilings are upper bounds: what the step takes with the pinned torch. A change that needs more raises them, with a
reason.
"""

import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from optuna.storages import JournalStorage
from sqlalchemy import Engine, event
from states import begin, complete, report, sweep_state
from torch.utils._python_dispatch import TorchDispatchMode

from gramtune.backends.mlflow.tracker import MlflowTracker
from gramtune.backends.optuna.search import OptunaProposer
from gramtune.record.report import Status
from gramtune.run.driver import Driver, NothingNew
from gramtune.space.load import load_config
from gramtune.training.trainer import Trainer

BASES = Path(__file__).parents[2] / "search_spaces" / "base"
OTHERS = {
    "gram": (),
    "gan": ("objective={name: gan}",),
    "mmd_net": ("objective={name: mmd_net, bandwidths: [1]}",),
    "mmd_gan": ("objective={name: mmd_gan, critic_dim: 10, boosted_steps: 0}",),
}
CEILINGS = {  # base, objective: calls per step at R = 1, at R = 3
    ("ring", "gram"): (350, 360),
    ("ring", "gan"): (330, 345),
    ("ring", "mmd_net"): (165, 175),
    ("ring", "mmd_gan"): (2000, 2040),
    ("digits", "gram"): (335, 480),
    ("digits", "gan"): (250, 445),
    ("digits", "mmd_net"): (140, 200),
    ("digits", "mmd_gan"): (1930, 3180),
}


class Calls(TorchDispatchMode):
    """Counts the operators that torch is asked for."""

    def __init__(self):
        super().__init__()
        self.of = Counter()

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        self.of[operator.name().partition(".")[0]] += 1
        return operator(*arguments, **(keywords or {}))


def calls(trainer, steps):
    with Calls() as counted:
        trainer.advance(steps)
    return counted.of


@pytest.mark.parametrize(("base", "objective"), CEILINGS)
def test_operator_calls_of_a_step(base, objective, tmp_path):
    for replicates, ceiling in zip((1, 3), CEILINGS[base, objective], strict=True):
        settings = (f"training.replicates={replicates}", *OTHERS[objective])
        trainer = Trainer(load_config(BASES / f"{base}.yaml", settings), tmp_path, torch.device("cpu"))
        trainer.advance(3)  # the first builds what the others use again
        one, two = calls(trainer, 1), calls(trainer, 2)
        step = two - one
        assert step.total() <= ceiling, step
        updates = {"gram": 1, "gan": 2, "mmd_net": 1, "mmd_gan": 6}[objective]  # of critic and generator
        assert step["aten::_local_scalar_dense"] == updates  # the host waits once per update: has it diverged?


FAULTS = """
import resource, torch
from gramtune.training.allocator import keep_freed_memory
assert keep_freed_memory()
for step in range(20):
    tensors = [torch.ones(3 << 20) for _ in range(4)]  # of 12 MB
    del tensors
    if step == 9: first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_memory_of_a_step_is_not_fetched_anew_by_the_next():
    """Page issues of ten steps of four tensors each; 122,570 as glibc comes, but where chance puts something on top."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    assert int(done.stdout) < 2_000


def test_a_result_is_one_append_that_reaches_the_disk(tmp_path, monkeypatch):
    state = sweep_state(tmp_path, replicates=2)
    driver = Driver(state, tmp_path, NothingNew())
    name = begin(state, objective__critic_dim=4)
    done, sync, open_ = Counter(), os.fsync, Path.open
    monkeypatch.setattr(os, "fsync", lambda file: (done.update(["fsync"]), sync(file)))
    monkeypatch.setattr(Path, "open", lambda path, *rest, **more: (done.update([path]), open_(path, *rest, **more))[1])
    for step in range(20):
        each = report(step, [1.0, 2.0])
        driver.reported(name, each)
    assert done == {"fsync": 20, tmp_path / "journal.jsonl": 20}


def test_a_proposal_does_not_scan_earlier_trials(tmp_path, monkeypatch):
    looks, look = [], JournalStorage.get_all_trials
    monkeypatch.setattr(JournalStorage, "get_all_trials", lambda self, *a, **k: looks.append(1) or look(self, *a, **k))
    state = sweep_state(tmp_path, "  objective.critic_dim: {int: [1, 512]}\n", sampled=True)
    proposer = OptunaProposer(state, tmp_path)
    assert proposer.propose()
    assert looks  # once: an earlier driver might have left something
    looks.clear()
    assert all(proposer.propose() for _ in range(4))
    assert not looks


def test_database_calls_of_a_trial_and_of_a_result(tmp_path, request):
    statements = []

    def note(*call):
        statements.append(call[2])

    event.listen(Engine, "before_cursor_execute", note)
    request.addfinalizer(lambda: event.remove(Engine, "before_cursor_execute", note))

    def calls():
        statements.clear()
        tracker.sync(state)
        return len(statements)

    state = sweep_state(tmp_path, replicates=2)
    tracker = MlflowTracker(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    first, second, third = ({"objective__critic_dim": k} for k in (1, 4, 16))
    complete(state, begin(state, **first), [4.0, 5.0])
    calls()
    assert calls() == 0  # without news
    name, took = begin(state, **second), {"begins": calls()}
    state.reported(name, report(0, [1.0, 2.0]))
    took["first result"] = calls()
    state.reported(name, report(3, [1.0, 2.0]))
    took["result"] = calls()
    state.reported(begin(state, **third), report(0, [1.0, 2.0]))
    state.reported(name, report(6, [1.0, 2.0], Status.COMPLETED))
    took["end of one, another begins with a result"] = calls()
    ceilings = {"begins": 39, "first result": 17, "result": 18, "end of one, another begins with a result": 72}
    assert took.keys() == ceilings.keys()
    assert all(took[event] <= ceiling for event, ceiling in ceilings.items()), took
