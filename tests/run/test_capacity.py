"""Which trials fit on which nodes, decided before the start; a trial that fits nowhere would wait forever."""

from pathlib import Path

import pytest
import torch

from gramtune.errors import SpecError
from gramtune.run.capacity import Capacity, Grant, Node, at_once, grant, here
from gramtune.space.load import load_sweep
from gramtune.space.resources import Resources

MIXED = Capacity((Node(16, 0, 2), Node(4, 2), Node(0, 0)), "the Ray at h:1", local=False)


def test_trials_at_once_are_counted_node_by_node():
    assert at_once(1000, Grant(1, 0), MIXED, None) == 36
    assert at_once(1000, Grant(3, 0), MIXED, None) == 5 + 5 + 1
    assert at_once(1000, Grant(1, 1), MIXED, None) == 2
    assert at_once(1000, Grant(1, 2), MIXED, None) == 1
    assert at_once(7, Grant(1, 0), MIXED, None) == 7
    assert at_once(1000, Grant(1, 0), MIXED, 4) == 4
    assert at_once(1000, Grant(1, 0.25), Capacity((), "somewhere", local=False), None) == 1000


def test_a_share_of_a_gpu_lies_on_one_gpu():
    """2 GPUs / 0.4 would be five; the fifth would need two fifths of two different cards."""
    assert at_once(1000, Grant(1, 0.4), Capacity((Node(64, 2),)), None) == 4
    assert at_once(1000, Grant(1, 0.1), Capacity((Node(64, 1),)), None) == 10
    assert at_once(1000, Grant(1, 1 / 3), Capacity((Node(64, 1),)), None) == 3


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": 17}, "each trial asks for cpu: 17; the largest node of the Ray at h:1 has 16"),
        ({"cpu": 8, "gpu": 1}, "each trial asks for cpu: 8 and gpu: 1; no node of the Ray at h:1 has both"),
    ],
)
def test_resources_that_no_node_has_are_refused(resources, message):
    with pytest.raises(SpecError) as caught:
        grant(Resources(**resources), MIXED)
    assert str(caught.value) == f"resources: {message}"


NO_GPU = (Capacity((Node(2),)), Capacity((Node(2), Node(4)), "the Ray at h:1", local=False))


@pytest.mark.parametrize("capacity", NO_GPU)
def test_a_gpu_that_no_node_has_is_dropped_with_a_line_unless_it_is_required(capacity):
    share = grant(Resources(gpu=0.5), capacity)
    place = "here" if capacity.local else "at the Ray at h:1"
    assert (share.gpu, share.note) == (
        0,
        f"no GPU {place}: gpu: 0.5 is ignored, each trial runs on 1 CPU core",
    )
    required = Resources.model_validate({"gpu": {"share": 0.5, "required": True}})
    assert Resources.model_validate(required.model_dump(mode="json")) == required
    with pytest.raises(SpecError, match=r"asks for gpu: 0\.5; .* has 0"):
        grant(required, capacity)


@pytest.mark.parametrize("capacity", NO_GPU)
def test_every_shipped_space_fits_where_no_node_has_a_gpu(capacity):
    files = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
    assert len(files) >= 10
    assert all(grant(load_sweep(file).resources, capacity).gpu == 0 for file in files)


def test_where_nodes_start_on_demand_the_gpu_is_kept():
    assert grant(Resources(gpu=0.5), Capacity((), "somewhere", local=False)).gpu == 0.5


def test_this_machine():
    (node,) = here().nodes
    assert node.cpu >= 1
    assert node.gpu == torch.cuda.device_count()
