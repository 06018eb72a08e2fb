"""`gpu: auto`: the number of trials per GPU, decided by measured memory and throughput."""

from dataclasses import replace

import pytest
import torch
from sweeps import SPACE, write_space

from gramtune import load_sweep, run_sweep
from gramtune.errors import Issue, SpecError
from gramtune.io import data_root
from gramtune.run.capacity import Capacity, Node
from gramtune.run.cost_estimate import TrialCost, measure
from gramtune.run.gpu_auto import settled, shapes
from gramtune.run.gpu_shares import CONTEXT, memory_cap
from gramtune.run.run_directory import existing_plan
from gramtune.space.plan import make_plan

GIB = 1 << 30
AUTO = SPACE.replace("gpu: 0", "gpu: auto")
A_GPU = Capacity((Node(64, 1),), "a node")


def plan_of(folder, space=AUTO):
    path = write_space(folder, space)
    return make_plan(load_sweep(path), data_root())


def gpu(memory, room, seconds):
    """A GPU on which `seconds(n)` passes while n copies run; trials fail where they take more than it has."""

    def measured(configs, root, device, threads, passes, copies):
        assert device == "cuda"
        assert copies == 1 or copies * (memory + CONTEXT) <= room, "tried what cannot fit"
        return [TrialCost(seconds(copies), memory, passes, room)] * len(configs)

    return measured


@pytest.mark.parametrize(
    ("memory", "room", "seconds", "share", "why"),
    [
        (1 * GIB, 80 * GIB, lambda n: 1.0, 1 / 16, "16 is the maximum"),  # idle most of the time
        (
            1 * GIB,
            80 * GIB,
            lambda n: max(1.0, n / 4),
            1 / 4,
            "8 have only 1.00 times the throughput",
        ),  # full with four
        (1 * GIB, 80 * GIB, lambda n: n, 1, "2 have only 1.00 times the throughput"),  # full with one
        (10 * GIB, 80 * GIB, lambda n: 1.0, 1 / 4, "8 do not fit into 80.0 GiB"),
        (60 * GIB, 80 * GIB, lambda n: 1.0, 1, "2 do not fit into 80.0 GiB"),
    ],
)
def test_the_share_ends_where_memory_or_the_gain_does(memory, room, seconds, share, why, tmp_path):
    said = []
    plan = settled(plan_of(tmp_path), A_GPU, data_root(), gpu(memory, room, seconds), said.append)
    assert plan.sweep.resources.gpu == share
    assert all(line.endswith(why) for line in said)
    assert memory_cap(share, room) * room >= memory or share == 1  # what it took fits under the cap of its share


def test_the_neediest_shape_decides_and_a_learning_rate_is_no_shape(tmp_path):
    space = AUTO.replace("replicates: 2", "  optimizer.learning_rate: {grid: [1e-4, 1e-3]}\nreplicates: 2")
    plan = plan_of(tmp_path, space)
    assert plan.size == 6
    assert [shape.objective.critic_dim for shape in shapes(plan)] == [1, 4, 16]

    def measured(configs, root, device, threads, passes, copies):
        (config,) = configs
        return [TrialCost(1.0, config.objective.critic_dim * GIB, passes, 41 * GIB)]

    assert settled(plan, A_GPU, data_root(), measured, print).sweep.resources.gpu == 1 / 2


def test_copies_that_fail_together_are_fewer(tmp_path):
    def measured(configs, root, device, threads, passes, copies):
        if copies == 4:
            raise SpecError([Issue("warm-up", "CUDA out of memory")])
        return [TrialCost(1.0, GIB, passes, 80 * GIB)]

    said = []
    plan = settled(plan_of(tmp_path), A_GPU, data_root(), measured, said.append)
    assert plan.sweep.resources.gpu == 1 / 2
    assert said[0].endswith("4 at once fail: CUDA out of memory")


def test_where_no_node_has_a_gpu_it_is_dropped_unless_it_is_required(tmp_path):
    plan, cluster = plan_of(tmp_path), Capacity((Node(8),), "a cluster", local=False)
    said = []
    assert settled(plan, cluster, data_root(), measure, said.append).sweep.resources.gpu == 0
    assert said == ["no GPU at a cluster: gpu: auto is ignored, each trial runs on CPU"]
    needed = plan.sweep.resources.model_copy(update={"gpu_required": True})
    plan = replace(plan, sweep=plan.sweep.model_copy(update={"resources": needed}))
    with pytest.raises(SpecError, match="asks for gpu: 1; the largest node of a cluster has 0"):
        settled(plan, cluster, data_root(), measure, print)
    said = []
    capacity = Capacity((Node(2),))
    assert settled(plan_of(tmp_path), capacity, data_root(), measure, said.append).sweep.resources.gpu == 0
    assert said == ["no GPU here: gpu: auto is ignored, each trial runs on CPU"]


def test_copies_run_at_the_same_time_and_each_costs_its_part(tmp_path):
    """On the CPU: what `measure` says of two copies is theirs, and a trial that fails says why, from any copy."""
    (config, *_) = shapes(plan_of(tmp_path))
    (one,) = measure([config], data_root(), "cpu", 1, 4)
    (two,) = measure([config], data_root(), "cpu", 1, 4, copies=2)
    assert two.passes == 2 * one.passes > 0
    assert two.memory > 0
    torn = config.model_copy(update={"data": config.data.model_copy(update={"name": "mnist"})})
    with pytest.raises(SpecError, match="a trial cannot be measured"):
        measure([torn], data_root(), "cpu", 1, 4, copies=2)


def test_a_sweep_keeps_the_number_that_it_began_with(tmp_path):
    """Asked for again with `auto`, it is the same sweep: nothing is measured anew."""
    space = write_space(tmp_path, AUTO)
    said = []
    first = run_sweep(space, tmp_path, debug=True, say=said.append)
    assert first.complete
    dropped = [line for line in said if "gpu: auto is ignored" in line]
    stored = existing_plan(first.folder).sweep.resources.gpu
    if not torch.cuda.is_available():
        assert len(dropped) == 1
        assert stored == 0
    again = run_sweep(space, tmp_path, debug=True, say=said.append, ask=lambda question: True)
    assert again.complete
    assert existing_plan(first.folder).sweep.resources.gpu == stored
    assert [line for line in said if "gpu: auto is ignored" in line] == dropped
