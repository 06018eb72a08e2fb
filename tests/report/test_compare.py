"""The comparison of several sweeps; sweeps that are not comparable are refused before anything is written."""

import json

import pytest
from parsed_page import Parsed
from states import recorded_sweep, report
from sweeps import SPACE

from gramtune.analysis.compatibility import named_sweeps
from gramtune.record.report import Status
from gramtune.report.figures.overlay import common_keys, overlay_figure
from gramtune.run.run_directory import recorded_state

K = "objective.critic_dim"


def sweep(folder, name, *finals, space=SPACE):
    """A finished sweep over K = 1, 4, 16 with these values of two replicates."""
    trials = [
        ({K: k}, [report(0, [90.0, 95.0]), report(6, list(final), Status.COMPLETED)], None)
        for k, final in zip((1, 4, 16), finals, strict=True)
    ]
    return recorded_sweep(folder, space.replace("name: axis", f"name: {name}"), trials)


def pair(folder):
    one = sweep(folder, "one", (30.0, 35.0), (10.0, 20.0), (40.0, 41.0))
    two = sweep(folder, "two", (30.0, 35.0), (40.0, 42.0), (13.0, 22.0))
    return one, two


def test_two_sweeps_have_their_bests_compared_seed_by_seed(tmp_path, gramtune):
    one, two = pair(tmp_path)
    code, output, errors = gramtune("report", one, two)
    assert (code, errors) == (0, "")
    assert output.endswith("comparison.html\n")
    assert "one 15.0 ± 7.1 2 3 COMPLETED critic_dim = 4" in " ".join(output.split())
    assert "two 17.5 ± 6.4 2 3 COMPLETED critic_dim = 16" in " ".join(output.split())
    # 13 − 10 and 22 − 20: mean 2.5, std 1/√2, t₀.₉₇₅,₁ = 12.7062: half width 6.3531
    assert "best of two minus best of one: NOT separated, may be chance; difference 2" in output
    parsed = Parsed((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    assert "best of two minus best of one: NOT separated" in parsed.text
    assert all(load.startswith("data:image/png;base64,") for load in parsed.loads)
    assert len(parsed.loads) == 1


def test_the_curves_of_a_common_key_are_overlaid(tmp_path):
    sweeps = named_sweeps([(folder, recorded_state(folder)) for folder in pair(tmp_path)])
    assert common_keys(sweeps) == [K]
    figure = overlay_figure(sweeps, K)
    drawn = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_gid() == "mean"]
    assert drawn == [[32.5, 15.0, 40.5], [32.5, 41.0, 17.5]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


def changed_versions(folder, **facts):
    file = folder / "versions.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


@pytest.mark.parametrize("what", ["samples per value", "metric", "data", "features"])
def test_sweeps_that_are_not_comparable_are_refused_in_one_line(what, tmp_path, gramtune):
    one, two = pair(tmp_path)
    if what == "data":
        changed_versions(two, data=["digits of another year"])
    elif what == "features":
        changed_versions(two, extractors={"digits_cnn": "other weights"})
    else:
        text = (two / "sweep.yaml").read_text()
        edit = (
            ("eval_samples: 100", "eval_samples: 200") if what == "samples per value" else ("fid_digits", "kid_digits")
        )
        assert edit[0] in text
        (two / "sweep.yaml").write_text(text.replace(*edit))
    code, output, errors = gramtune("report", one, two)
    assert (code, output) == (2, "")
    lines = [line for line in errors.splitlines() if f": {what} " in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{two}: not comparable with {one}: ")
    assert not (tmp_path / "comparison.html").exists()


def test_a_sweep_is_not_compared_with_itself(tmp_path, gramtune):
    one, _ = pair(tmp_path)
    code, output, errors = gramtune("report", one, one)
    assert (code, output) == (2, "")
    assert "is given twice" in errors
