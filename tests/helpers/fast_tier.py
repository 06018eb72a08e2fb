"""Which tests `pytest -m fast` runs. What a test uses decides, so nobody marks tests by hand.

A test is fast if neither it nor anything of its file that it reaches names something expensive: another process, a
whole sweep, Ray, MLflow, figures, Inception. Of the cases of one test function, the first is fast.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

EXPENSIVE = frozenset(
    """
    subprocess multiprocessing pty socket run_sweep resume_sweep api gramtune_package Driver InProcessRunner RayRunner
    local_ray ray_runner ray_cluster one_gpu MlflowTracker MlflowClient migrated running_server ensure_store
    OptunaProposer write_figures write_report rewrite random_state Inception InceptionLogits main app figure_bytes
    TrialRun gramtune unprivileged drawn chromium estimate measure jupyter_client
    """.split()  # noqa: SIM905
)
"""Names of modules, functions, classes and fixtures that cost a second or more."""
LIMIT = 10.0
"""CPU seconds that a fast test may take; the first of a process imports most libraries."""


def fast(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """The first case of each fast function; slow and browser tests apart."""
    seen = set()
    for item in items:
        if isinstance(item, pytest.Function) and not any(map(item.get_closest_marker, ("slow", "browser"))):
            test = (item.path, item.originalname)
            if test not in seen and item.originalname in fast_functions(item.path):
                seen.add(test)
                yield item


@cache
def fast_functions(path: Path) -> frozenset[str]:
    """Names of the test functions of a file that reach nothing expensive."""
    uses: dict[str, set[str]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for name in _defined(node):
            uses[name] = set(_names(node))
    return frozenset(name for name in uses if name.startswith("test_") and not EXPENSIVE & _reached(name, uses))


def _reached(start: str, uses: dict[str, set[str]]) -> set[str]:
    found, left = {start}, [start]
    while left:
        new = uses.get(left.pop(), set()) - found
        found |= new
        left.extend(new)
    return found


def _defined(node: ast.stmt) -> list[str]:
    """What a statement of a module defines: a function, a class, constants."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]


def _names(node: ast.AST) -> Iterator[str]:
    """Every name in it: variables, attributes, fixtures as arguments, imports, texts (`usefixtures("local_ray")`)."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr
        elif isinstance(each, ast.arg):
            yield each.arg
        elif isinstance(each, ast.alias):
            yield each.name.rpartition(".")[2]
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value
