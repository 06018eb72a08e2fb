"""The HTML page is self-contained, small, shows the state, and is safe from hostile names."""

import base64
import re
from dataclasses import replace

import pytest
from parsed_page import Parsed
from states import begin, complete, hostile_state, interrupted, joint, report, sweep_state

from gramtune.analysis.cost import cost_of
from gramtune.analysis.importance import Importances, unknown
from gramtune.api import rewrite
from gramtune.backends.optuna.importance import importances
from gramtune.record.report import Status
from gramtune.report.page.page import page
from gramtune.run.run_directory import recorded_state
from gramtune.space.resources import Resources

K, RATE = "objective.critic_dim", "optimizer.learning_rate"


def assert_self_contained(html):
    """Nothing is loaded from anywhere, neither by the page nor by a drawing in it."""
    static = re.sub(r"<script\b[^>]*>.*?</script>", "", html, flags=re.DOTALL)
    scripts = re.findall(r"<script\b[^>]*>", html)
    assert scripts in ([], ['<script type="application/json" id="explore-data">', "<script>", "<script>"])
    parsed = Parsed(static)
    assert parsed.open == []
    assert parsed.loads
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", load) for load in parsed.loads)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert not re.search(r"url\(|@import", static)
    drawings = [base64.b64decode(load.partition(",")[2]).decode() for load in parsed.loads if "svg+xml" in load]
    for drawing in drawings:
        assert "<script" not in drawing
        targets = re.findall(r'href="([^"]*)"', drawing)
        assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", drawing))
    return parsed


def test_the_page_of_an_interrupted_sweep_says_what_there_is(tmp_path):
    target = interrupted(tmp_path)
    rewrite(recorded_state(target), target)
    parsed = assert_self_contained((target / "report.html").read_text(encoding="utf-8"))
    for said in (
        "axis: Does K matter?",
        "Unfinished: 1 of 3 trials.",
        "Lowest mean: critic_dim = 1",
        "no score: 1 of 3 trials not finished",
        "Stopped early: 1 of 3 trials. Saved: 6 training steps (17 % of the steps of all started trials without "
        "pruning)",
        "The cost of pruning is unknown",
        "18 of 36, all replicates together",
        "sweep.yaml --name again",
    ):
        assert said in parsed.text
    assert (target / "sweep.yaml").read_text().split() == "".join(
        text for text in parsed.texts if text.startswith("name: axis")
    ).split()


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    state = hostile_state(tmp_path)
    rewrite(state, tmp_path)
    parsed = assert_self_contained((tmp_path / "report.html").read_text(encoding="utf-8"))
    for said in (
        "<img src=x onerror=alert(1)>",
        "<script>alert('ü')</script> & co",
        "naïve Ω {{ 7*7 }}",
        '"</table><script>alert(2)</script>" & more',
    ):
        assert said in parsed.text


def test_two_hundred_trials_make_a_small_page(tmp_path):
    target = joint(tmp_path, 200)
    state = recorded_state(target)
    assert len(state.records) == 200
    rewrite(state, target)
    size = (target / "report.html").stat().st_size
    assert size < 5_000_000
    parsed = assert_self_contained((target / "report.html").read_text(encoding="utf-8"))
    assert parsed.tags.count("img") == 5  # three keys, learning curves, parallel coordinates
    assert parsed.tags.count("meter") == 3
    assert "Stopped early: 20 of 200 trials" in parsed.text
    assert "other keys are sampled too" in parsed.text


def test_importances_find_the_key_that_matters(tmp_path):
    """Pruned and diverged trials are seen too; the caption says how many of which."""
    state = recorded_state(joint(tmp_path, 60))
    found = importances(state)
    assert next(iter(found.shares)) == K
    assert found.shares[K] > 0.6
    assert sum(found.shares.values()) == pytest.approx(1)
    statuses = [record.status for record in state.records.values()]
    assert found.trials == statuses.count(Status.COMPLETED) == 54
    assert found.worse == statuses.count(Status.PRUNED) + statuses.count(Status.DIVERGED) == 6
    assert "PED-ANOVA of fid_digits" in found.evaluator
    html = Parsed(page(state, tmp_path, [], found)).text
    assert "54 completed, and 6 pruned or" in html


def test_a_key_that_decides_whether_a_trial_diverges_matters(tmp_path):
    """Of completed trials alone the rate would explain nothing."""
    domains = f"""\
  {K}: {{int: [1, 64]}}
  {RATE}: {{uniform: [0, 1]}}
""".replace("uniform: [0, 1]", "uniform: [0.001, 1]")
    state = sweep_state(tmp_path, domains, sampled=True)
    for i in range(40):
        name = begin(state, objective__critic_dim=1 + i, optimizer__learning_rate=0.001 + i % 4 / 4)
        if i % 4 < 3:
            state.ended(name, Status.DIVERGED, "3 of 3")
        else:
            complete(state, name, [i * 7 % 11 + 1.0, i * 7 % 11 + 2.0])
    found = importances(state)
    assert found.shares[RATE] > found.shares[K]


def test_importances_say_why_there_are_none(tmp_path):
    assert unknown(recorded_state(joint(tmp_path, 5))) == "5 completed trials are too few; 10 are needed"
    assert unknown(sweep_state(tmp_path)) == "one varied key explains everything"


def test_a_key_that_some_trials_lack_has_an_importance_too(tmp_path):
    domains = f"""\
  method: {{cases: {{gram: {{}}, other: {{objective.bandwidths: [1]}}}}}}
  {K}: {{logint: [1, 64], when: {{method: gram}}}}
  {RATE}: {{loguniform: [1e-4, 1e-2]}}
"""
    state = sweep_state(tmp_path, domains, sampled=True)
    for i in range(12):
        values = {"method": "gram" if i % 2 else "other", "optimizer__learning_rate": 1e-4 * (1 + i)}
        more = {"objective__critic_dim": 1 + i} if i % 2 else {}
        complete(state, begin(state, **values, **more), [i + 1.0, i + 2.0])
    found = importances(state)
    assert set(found.shares) == {K, RATE, "method"}
    assert sum(found.shares.values()) == pytest.approx(1)


def test_the_page_needs_nothing_but_a_state(tmp_path):
    html = page(sweep_state(tmp_path), tmp_path, [], Importances(why="nothing has run"))
    assert "Best: none, because no trial has completed." in Parsed(html).text


def test_energy_is_that_of_each_trials_share_of_a_gpu(tmp_path):
    state = sweep_state(tmp_path)
    assert cost_of(state).joules is None
    assert cost_of(state).energy.startswith("not measured")
    quarter = state.plan.sweep.model_copy(update={"resources": Resources(cpu=1, gpu=0.25)})
    state.plan = replace(state.plan, sweep=quarter)
    first, second, _ = state.records
    for step, joules in ((3, 3.6e6), (6, 7.2e6)):
        state.reported(first, replace(report(step, [1.0, 2.0]), joules=joules))
    state.reported(second, replace(report(3, [1.0, 2.0]), joules=3.6e6))
    assert cost_of(state).joules == 0.25 * (7.2e6 + 3.6e6)
    assert cost_of(state).energy.startswith("0.75 kWh")


def test_nothing_is_cut_where_the_page_is_printed(tmp_path):
    """Long tables scroll on a screen; on paper their end was missing."""
    state = sweep_state(tmp_path)
    html = page(state, tmp_path, [], Importances(why="none"))
    screen, _, printed = html.partition("@media print")
    assert ".tall { max-height" in screen
    assert ".tall" in printed
    assert "max-height: none" in printed
