"""The JSON Schemas: shipped files pass, broken files are refused, and a plug-in's fields are included on request."""

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gramtune.errors import SpecError
from gramtune.space.load import load_config, load_sweep
from gramtune.space.schema import schema
from gramtune.space.yaml_reader import read_yaml, yaml_text

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "search_spaces"
FILES = [*sorted(FOLDER.glob("*.yaml")), *sorted((FOLDER / "base").glob("*.yaml"))]
BROKEN, REFUSED = 200, 190


def kind_of(file: Path) -> str:
    return "base" if file.parent.name == "base" else "space"


@pytest.fixture(scope="module")
def validators() -> dict[str, jsonschema.Draft202012Validator]:
    return {kind: jsonschema.Draft202012Validator(schema(kind)) for kind in ("space", "base")}


def test_they_are_schemas(validators) -> None:
    for validator in validators.values():
        validator.check_schema(validator.schema)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_file_passes_and_names_its_schema(file: Path, validators) -> None:
    kind = kind_of(file)
    assert [error.message for error in validators[kind].iter_errors(read_yaml(file).data)] == []
    key, _, name = file.read_text().splitlines()[0].partition("=")
    assert key == "# yaml-language-server: $schema"
    assert json.loads((file.parent / name).read_text()) == validators[kind].schema


SPACE = """
name: x
base: digits
metric: [fid_digits, kid_digits]
plugins: [mine.py, package.module]
space:
  method: {cases: {A: {objective.name: gram, objective.preset: torch}, B: {objective: {name: gan}}}}
  optimizer.learning_rate: {loguniform: [1e-4, 1e-2], when: {method: [A, B]}}
  network.width: {int: [2, 8], step: 2}
  metrics: {choice: [[fid_digits], [{name: kid_digits}]]}
search: tpe
pruner: {name: asha, false_prune_rate: 0.1}
resources: {cpu: 2, gpu: {share: 0.5, required: true}}
budget: {seconds: 10}
"""


def test_short_and_rare_forms_pass(validators, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    for old, new in (("", ""), ("{share: 0.5, required: true}", "auto"), ("[fid_digits, kid_digits]", "fid_digits")):
        file.write_text(SPACE.replace(old, new, 1) if old else SPACE)
        assert [error.message for error in validators["space"].iter_errors(read_yaml(file).data)] == []


def nodes(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything below the top."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from nodes(value, (*path, key))


def broken(data: Any, rng: random.Random) -> Any:
    """`data` with one key misspelt or left out, or one value replaced."""
    data = copy.deepcopy(data)
    *above, key = rng.choice(list(nodes(data)))
    place = data
    for part in above:
        place = place[part]
    how = rng.choice(["misspell", "drop", "value", "value", "value"])
    if how == "misspell" and isinstance(place, dict):
        place[f"{key}s"] = place.pop(key)
    elif how == "drop":
        del place[key]
    else:
        place[key] = rng.choice([-1, 0, "many", None, [], {}, True, 1.5, "1e-3", [1, [2]]])
    return data


def test_broken_files_are_refused(validators, tmp_path: Path) -> None:
    """A schema cannot know what values fulfil together, such as steps that are below eval_at."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    rng = random.Random(0)
    passed, count = [], 0
    while count < BROKEN:
        file = rng.choice(FILES)
        kind, target = kind_of(file), tmp_path / file.relative_to(FOLDER)
        data = broken(read_yaml(file).data, rng)
        target.write_text(yaml_text(data))
        try:
            load_config(target) if kind == "base" else load_sweep(target)
            continue  # still legal: a default took the place
        except SpecError as error:
            count += 1
            if validators[kind].is_valid(read_yaml(target).data):
                passed.append(str(error))
        finally:
            shutil.copy(file, target)
    assert BROKEN - len(passed) >= REFUSED, "\n".join(passed)


def test_what_the_models_accept_the_schema_accepts(validators, tmp_path: Path) -> None:
    """No false alarm in an editor: mutated files that are legal sweeps pass."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    rng = random.Random(1)
    legal = 0
    for _ in range(300):
        file = rng.choice(FILES)
        kind, target = kind_of(file), tmp_path / file.relative_to(FOLDER)
        target.write_text(yaml_text(broken(read_yaml(file).data, rng)))
        try:
            load_config(target) if kind == "base" else load_sweep(target)
        except SpecError:
            continue
        else:
            legal += 1
            data = read_yaml(target).data
            assert [error.message for error in validators[kind].iter_errors(data)] == [], yaml_text(data)
        finally:
            shutil.copy(file, target)
    assert legal > 10
