"""Capacity of a cluster that Ray's launcher has still to start."""

from gramtune.backends.ray.session import machines, node_types
from gramtune.run.capacity import Node


def test_node_types_of_a_cluster_file_count_though_none_is_up():
    config = {
        "max_workers": 8,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 0}, "max_workers": 0},
            "gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 5},
            "cpu": {"resources": {"CPU": 16}},
        },
    }
    assert node_types(config) == (Node(8, 1, 5), Node(16, 0, 8))
    assert machines(config) == 0
    assert machines({"provider": {"type": "local", "head_ip": "a", "worker_ips": ["b", "c"]}}) == 3
    assert machines({}) == 0
    assert node_types({}) == ()
    assert node_types({"max_workers": 2, "head_node_type": "n", "available_node_types": {"n": {}}}) == ()
