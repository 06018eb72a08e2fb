"""Population-based training: the result depends only on the seed, for any concurrency and after kills."""

import random

import pytest
from sweeps import RING, write_space

from gramtune.backends.mlflow.run_contents import report_points
from gramtune.backends.optuna.search import OptunaProposer
from gramtune.errors import SpecError
from gramtune.record.journal import load_state
from gramtune.record.lineage import lineage
from gramtune.record.report import Status
from gramtune.record.tables import lineage_frame, results_frame, trials_frame
from gramtune.report.figures.catalogue import write_figures
from gramtune.report.figures.schedule import schedule_figure
from gramtune.report.text.summary import summary_lines
from gramtune.run.driver import Driver
from gramtune.run.in_process import InProcessRunner
from gramtune.run.resume_policy import refusals
from gramtune.space.domain import Domain
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

SPACE = """\
name: axis
base: base/tiny.yaml
space:
  optimizer.learning_rate: {loguniform: [1e-5, 1e-1]}
  optimizer.beta1: {choice: [0.0, 0.5, 0.9]}
replicates: 2
search: {name: random, samples: 5, seed: 1}
scheduler: {name: pbt, interval: 3, quantile: 0.4}
"""


BETA1 = "optimizer.beta1: {choice: [0.0, 0.5, 0.9]}"


class Killed(BaseException):
    """What a kill of the driver is to code that must not tidy up."""


def sweep_state(folder, space=SPACE, base=RING):
    folder.mkdir(exist_ok=True)
    path = write_space(folder, space, base)
    return load_state(folder, make_plan(load_sweep(path), folder))


def run(folder, space=SPACE, *, runner=None, dies=None):
    """Runs, or goes on with, the sweep; `dies` patches the driver so that the driver is killed somewhere."""
    state = sweep_state(folder, space)
    driver = Driver(state, folder, OptunaProposer(state, folder))
    if dies:
        dies(driver)
    (runner or InProcessRunner()).run(driver)
    return state


def outcome(state):
    return {
        name: (r.status, r.inherited, {s: (p.metrics, p.traces) for s, p in r.reports.items()})
        for name, r in state.records.items()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


def test_the_worst_go_on_from_the_best(undisturbed):
    assert undisturbed.generations == {3, 6}
    assert {r.status for r in undisturbed.records.values()} == {Status.COMPLETED}
    for step in (3, 6):
        means = {n: r.reports[step].metrics["sliced_wasserstein"] for n, r in undisturbed.records.items()}
        ranking = sorted(means, key=lambda name: sum(means[name]))
        heirs = {n: i for n, r in undisturbed.records.items() for i in r.inherited if i.step == step}
        assert set(heirs) == set(ranking[-2:])
        assert {i.parent for i in heirs.values()} <= set(ranking[:2])
    name, heir = next((n, r) for n, r in undisturbed.records.items() if r.inherited)
    first = heir.inherited[0]
    assert heir.assignment_at(first.step) == heir.trial.assignment
    assert heir.assignment_at(first.step + 1) == first.assignment != heir.trial.assignment
    assert lineage(undisturbed, name)[-1].assignment == heir.assignment


def test_weights_are_inherited_and_the_new_rate_is_used(tmp_path):
    """With a rate of 1e-30 nothing moves: an heir then evaluates to its parent's value, to the last bit."""
    frozen = SPACE.replace("[1e-5, 1e-1]", "[1e-30, 1e-29]").replace(
        "  optimizer.beta1: {choice: [0.0, 0.5, 0.9]}\n", ""
    )
    state = run(tmp_path, frozen.replace("interval: 3", "interval: 3, resample: 0"))
    assert {i.parent for r in state.records.values() for i in r.inherited}
    for record in state.records.values():
        for inheritance in record.inherited:
            parent = state.records[inheritance.parent]
            assert record.reports[inheritance.step + 1].metrics == parent.reports[inheritance.step].metrics
            used = record.reports[inheritance.step + 1].traces["value/optimizer.learning_rate"]
            assert used == [inheritance.assignment["optimizer.learning_rate"]] * 2
            ratio = used[0] / parent.assignment_at(inheritance.step)["optimizer.learning_rate"]
            assert min(abs(ratio - 0.8), abs(ratio - 1.25)) < 1e-9 or used[0] in (1e-30, 1e-29)


def at_report(number):
    def patch(driver):
        reported, count = driver.reported, iter(range(10**6))

        def dying(name, report):
            if next(count) == number:
                raise Killed
            return reported(name, report)

        driver.reported = dying

    return patch


def in_the_middle_of_copying(driver):
    copy, count = driver.population.copy, iter(range(10**6))

    def dying(parent, heir):
        copy(parent, heir)
        if next(count) == 0:  # one heir has its checkpoint, the other not, and the journal knows of neither
            raise Killed

    driver.population.copy = dying


def before_the_first_report_of_a_generation(driver):
    turn = driver.population.turn

    def dying():
        turn()
        raise Killed

    driver.population.turn = dying


@pytest.mark.parametrize(
    "dies",
    [
        pytest.param(at_report(2), id="at the start"),
        pytest.param(at_report(17), id="before a turn"),
        pytest.param(at_report(21), id="after a turn"),
        pytest.param(at_report(30), id="later"),
        pytest.param(in_the_middle_of_copying, id="copying"),
        pytest.param(before_the_first_report_of_a_generation, id="turned"),
    ],
)
def test_a_killed_population_resumes_with_the_same_result(dies, undisturbed, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, dies=dies)
    assert outcome(run(tmp_path)) == outcome(undisturbed)
    assert outcome(sweep_state(tmp_path)) == outcome(undisturbed)  # from the journal alone


def test_ray_gives_the_same_with_two_at_once(local_ray, undisturbed, tmp_path):
    from gramtune.backends.ray.runner import RayRunner

    assert outcome(run(tmp_path, runner=RayRunner(lambda line: None, max_concurrent=2))) == outcome(undisturbed)


def test_mlflow_is_told_values_that_change_as_a_metric(undisturbed):
    """A parameter is written once: MLflow refuses another value for good."""
    key = "optimizer.learning_rate"
    record = next(record for record in undisturbed.records.values() if record.inherited)
    told = {s: p.value for s, r in record.reports.items() for p in report_points(r) if p.key == f"value/{key}"}
    assert told == {step: pytest.approx(record.assignment_at(step)[key]) for step in record.reports}
    assert len(set(told.values())) > 1


def test_tables_tell_the_values_of_each_step(undisturbed):
    frame = results_frame(undisturbed)
    key = "optimizer.learning_rate"
    for name, record in undisturbed.records.items():
        for step in (0, 3, 4, 6, 7, 9):
            rows = frame[(frame["trial"] == name) & (frame["step"] == step)]
            assert set(rows[key]) == {record.assignment_at(step)[key]}
    final = trials_frame(undisturbed).set_index("trial")[key]
    assert final.to_dict() == {n: r.assignment[key] for n, r in undisturbed.records.items()}
    family = lineage_frame(undisturbed)
    assert len(family) == 4
    for row in family.itertuples():
        assert (row.step, row.parent) in {(i.step, i.parent) for i in undisturbed.records[row.trial].inherited}


def test_summary_and_figures_show_a_schedule(undisturbed, tmp_path):
    best = undisturbed.best.trial.name
    past = lineage(undisturbed, best)
    text = "\n".join(summary_lines(undisturbed))
    assert len(past) > 1  # of this seed; otherwise the test shows nothing
    assert f"Lowest mean: {best}, by a schedule of values" in text
    assert text.count("  from step ") == len(past)
    names = {path.name for path in write_figures(undisturbed, tmp_path)}
    assert {"learning_rate.png", "beta1.png", "learning_curves.png"} <= names
    lines = {line.get_gid(): line for line in schedule_figure(undisturbed, "optimizer.learning_rate").axes[0].lines}
    assert set(lines) == {*undisturbed.records, "best"}
    assert lines["best"].get_ydata()[-1] == undisturbed.best.assignment["optimizer.learning_rate"]


def test_a_budget_ends_waiting_trials(tmp_path):
    state = run(tmp_path, SPACE + "budget: {steps: 20}\n")
    assert {r.status for r in state.records.values()} == {Status.STOPPED}
    assert not state.unfinished


def test_a_population_does_not_grow(undisturbed):
    sweep = undisturbed.plan.sweep
    larger = sweep.model_copy(update={"search": sweep.search.model_copy(update={"samples": 7})})
    assert refusals(undisturbed, sweep) == []
    assert [line.split(":")[0] for line in refusals(undisturbed, larger)] == [
        "trials cannot be added to population-based training"
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (BETA1, "network.noise_dim: {int: [1, 4]}", "5: space.network.noise_dim: this key cannot change during"),
        (BETA1, "objective.critic_dim: {int: [1, 4]}", "5: space.objective.critic_dim: this key changes the networks'"),
        ("interval: 3", "interval: 9", "8: scheduler.interval = 9 should be a multiple of training.eval_every (1)"),
        ("quantile: 0.4", "quantile: 0.1", "8: scheduler.quantile = 0.1 of 5 trials is less than one trial"),
        ("name: random", "name: tpe", "8: scheduler: tpe learns from finished trials"),
        ("scheduler:", "pruner: asha\nscheduler:", "9: scheduler: pbt replaces the worst trials, so it does not work"),
        ("name: pbt", "name: pbd", "8: scheduler.name = 'pbd' is not legal; legal: 'none' or 'pbt'"),
    ],
)  # fmt: skip
def test_issues_have_their_line(old, new, expected, tmp_path):
    with pytest.raises(SpecError) as error:
        load_sweep(write_space(tmp_path, SPACE.replace(old, new), RING))
    assert any(str(issue).startswith(f"{tmp_path / 'axis.yaml'}:{expected}") for issue in error.value.issues), (
        error.value.issues
    )


def test_a_value_stays_in_its_domain():
    rng = random.Random(0)
    for domain in (Domain(uniform=(0.0, 1.0), step=0.25), Domain(**{"int": (2, 9)}), Domain(loguniform=(1e-4, 1e-2))):
        low, high = domain.bounds
        for _ in range(200):
            for value in (domain.draw(rng), domain.neighbour(domain.draw(rng), rng.choice((0.8, 1.25)), rng)):
                assert low <= value <= high
                assert not domain.whole or isinstance(value, int)
    listed = Domain(choice=("a", "b", "c"))
    assert {listed.neighbour("a", 1.0, rng) for _ in range(50)} == {"a", "b"}
