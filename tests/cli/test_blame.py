"""A message names the source of a bad value: an option, an environment variable, a default or a file."""

import pytest
from sweeps import SPACE, write_space
from typer.testing import CliRunner

from gramtune.cli.main import app
from gramtune.errors import SpecError


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GRAMTUNE_RUNS", raising=False)
    write_space(tmp_path)


def refused(*arguments, **environment):
    result = CliRunner().invoke(app, arguments, env=environment)
    assert isinstance(result.exception, SpecError), result.output
    return [str(issue) for issue in result.exception.issues]


def test_a_tracking_uri_is_blamed_on_whoever_gave_it():
    rule = "'ftp://x' has an unknown scheme; legal: "
    (line,) = refused("sweep", "axis.yaml", "--debug", "--tracking-uri", "ftp://x")
    assert line.startswith(f"--tracking-uri: {rule}")
    (line,) = refused("sweep", "axis.yaml", "--debug", MLFLOW_TRACKING_URI="ftp://x")
    assert line.startswith(f"MLFLOW_TRACKING_URI: {rule}")


def test_the_folder_of_sweeps_is_blamed_on_whoever_gave_it(tmp_path):
    (tmp_path / "runs").write_text("a file")
    why = "runs/axis cannot be written: Not a directory"
    assert refused("sweep", "axis.yaml", "--debug") == [f"default of --runs: {why}"]
    assert refused("sweep", "axis.yaml", "--debug", "--runs", "runs") == [f"--runs: {why}"]
    assert refused("sweep", "axis.yaml", "--debug", GRAMTUNE_RUNS="runs") == [f"GRAMTUNE_RUNS: {why}"]


def test_a_value_that_a_parser_refuses_is_blamed_on_its_variable():
    for uri, why in (("s3://", "names no bucket"), ("s3://[", "is not a URI: Invalid IPv6 URL")):
        told = f"'{uri}' {why}; legal: s3://bucket/folder, gs://bucket/folder"
        assert refused("sweep", "axis.yaml", "--debug", GRAMTUNE_RUNS=uri) == [f"GRAMTUNE_RUNS: {told}"]
        assert refused("ui", GRAMTUNE_RUNS=uri) == [f"GRAMTUNE_RUNS: {told}"]
        assert refused("status", "--runs", uri) == [f"--runs: {told}"]
        assert refused("resume", f"{uri}/axis")[0].startswith("FOLDER: ")


def test_a_name_made_of_space_and_base_is_blamed_on_the_base(tmp_path):
    (tmp_path / "base" / "my base.yaml").write_bytes((tmp_path / "base" / "tiny.yaml").read_bytes())
    (line,) = refused("validate", "axis.yaml", "--base", "my base")
    assert line.startswith("--base: name = 'axis-my base' should be letters")
    assert line.endswith("; choose another name with --name")
    (line,) = refused("sweep", "axis.yaml", "--dry-run", "--base", "my base", "--name", "a b")
    assert line.startswith("--name: name = 'a b' should be letters")


def test_a_file_is_blamed_by_line_and_with_the_keys_of_the_file(tmp_path):
    (tmp_path / "axis.yaml").write_text(SPACE.replace("{grid: [1, 4, 16]}", "{ints: [1, 4]}"))
    (line,) = refused("validate", "axis.yaml")
    legal = "grid, choice, uniform, loguniform, int, logint, cases, step, when"
    key = "'space.objective.critic_dim.ints'"
    assert line == f"axis.yaml:5: unknown key {key}; did you mean 'int'? legal: {legal}"
