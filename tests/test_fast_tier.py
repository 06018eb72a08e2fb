"""`pytest -m fast`: every room has tests in it, and none that starts a process or a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from fast_tier import fast_functions

import gramtune

PACKAGE, TESTS = Path(gramtune.__file__).parent, Path(__file__).parent
FOLDERS = [file.parent.relative_to(PACKAGE) for file in PACKAGE.rglob("__init__.py")]
ROOMS = sorted(folder for folder in FOLDERS if folder.parent.name in ("", "backends") and folder.name)


def test_the_rooms_are_found() -> None:
    assert {Path("objectives"), Path("space"), Path("backends/ray"), Path("cli")} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_every_room_of_the_package_has_fast_tests(room: Path) -> None:
    assert [name for file in (TESTS / room).rglob("test_*.py") for name in fast_functions(file)]


def test_a_test_is_fast_that_reaches_nothing_expensive(tmp_path: Path) -> None:
    file = tmp_path / "test_file.py"
    file.write_text(
        """
import subprocess
@pytest.fixture
def sweep(tmp_path): return helper(tmp_path)
def helper(folder): subprocess.run(["true"])
def test_plain(): assert True
def test_through_a_fixture(sweep): assert sweep
@pytest.mark.usefixtures("local_ray")
def test_on_ray(): assert True
""",
        encoding="utf-8",
    )
    assert fast_functions(file) == {"test_plain"}
