"""The live view of a running sweep, and the text of `--dry-run`."""

import io
import threading
import time

import pytest
from rich.console import Console
from states import METHODS, begin, complete, report, sweep_state
from sweeps import SPACE, write_space

from gramtune.cli.live import Lines, Pace, caption, table, watching
from gramtune.cli.plan_text import plan_lines
from gramtune.cli.text import duration, spread
from gramtune.record.report import Status, Summary
from gramtune.run.capacity import Capacity, Node
from gramtune.run.cost_estimate import SweepEstimate
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

K = "objective.critic_dim"
RATE = "  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}\n"


def shown(renderable, width=120):
    """The lines on a terminal of that width, heading first."""
    console = Console(file=io.StringIO(), width=width, height=50, force_terminal=True, color_system=None)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def many(folder, n=30):
    return sweep_state(folder, f"  {K}: {{grid: {list(range(1, n + 1))}}}\n")


def test_the_table_has_a_row_per_trial(tmp_path):
    state = sweep_state(tmp_path)
    complete(state, "critic_dim=4", [3.0, 5.0], [1.0, 2.0], [2.0, 4.0])
    state.started(state.records["critic_dim=16"].trial)
    state.reported("critic_dim=16", report(3, [7.0, None]))
    heading, *rows = shown(table(state, 10))
    assert heading.split() == ["trial", "critic_dim", "progress", "fid_digits", "(mean", "±", "std)", "status", "left"]
    words = [[word for word in row.split() if "━" not in word] for row in rows]
    assert words == [
        ["0", "1", "0/6", "–", "PENDING"],
        ["1", "4", "6/6", "3.0", "±", "1.4", "(n=2)", "COMPLETED"],
        ["2", "16", "3/6", "7", "(n=1)", "RUNNING", "0:04"],  # half of it took 4.5 s
    ]


@pytest.mark.parametrize("rows", [-3, 0, 1, 2, 5, 29])
def test_more_trials_than_rows_show_what_runs_then_the_last_to_end(rows, tmp_path):
    state = many(tmp_path)
    for name in list(state.records)[:10]:
        complete(state, name, [3.0, 5.0])
    for name in list(state.records)[10:12]:
        state.started(state.records[name].trial)
    _, *lines = shown(table(state, rows))
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == sorted(numbers)
    wanted = {1: [11], 2: [11, 12], 5: [8, 9, 10, 11, 12], 29: list(range(1, 30))}
    assert numbers == wanted.get(rows, [11])


def test_all_rows_are_there_where_they_fit(tmp_path):
    assert len(shown(table(many(tmp_path), 30))) == 31


def test_a_narrow_terminal_cuts_lines_and_does_not_add_any(tmp_path):
    domains = METHODS + RATE + "  training.batch_size: {choice: [8, 16]}\n"
    state = sweep_state(tmp_path, domains.replace("grid", "choice"), sampled=True)
    for rate in (0.0012345678, 0.0023456789):
        begin(state, method="gan", optimizer__learning_rate=rate, training__batch_size=8)
    assert len(shown(table(state, 10, 40), width=40)) == 3
    rows = shown(table(state, 10))[1:]
    assert [row.split()[1:4] for row in rows] == [["gan", "0.001235", "8"], ["gan", "0.002346", "8"]]


@pytest.mark.parametrize("width", [50, 60, 80, 100])
def test_a_narrow_terminal_keeps_number_steps_metric_and_status(width, tmp_path):
    domains = METHODS + RATE + "  training.batch_size: {choice: [8, 16]}\n"
    state = sweep_state(tmp_path, domains.replace("grid", "choice"), sampled=True)
    for rate in (0.0012345678, 0.0023456789):
        name = begin(state, method="gan", optimizer__learning_rate=rate, training__batch_size=8)
    complete(state, name, [3.0, 5.0], [104.0, 106.0])
    heading, first, second = shown(table(state, 10, width), width=width)
    assert (heading.split()[0], first.split()[0], second.split()[0]) == ("trial", "0", "1")
    assert "0/6" in first
    assert first.endswith("RUNNING")
    assert second.split()[-6:] == ["3/6", "105.0", "±", "1.4", "(n=2)", "COMPLETED"]
    assert max(map(len, (heading, first, second))) <= width


def test_the_caption_of_a_narrow_terminal_wraps_and_the_view_is_no_higher(tmp_path):
    state = many(tmp_path)
    console = Console(file=io.StringIO(), force_terminal=True, width=40, height=12, color_system=None)
    with watching(state, console):
        complete(state, "critic_dim=7", [3.0, 5.0])
    last = console.file.getvalue().split("\n")
    end = max(i for i, line in enumerate(last) if "trial  critic_dim" in line)
    assert len(last) - end <= 12
    assert "(n=2)" in last[-2]


def test_what_looks_like_markup_is_shown_as_it_is(tmp_path):
    domains = '  "[/red] :smile:": {cases: {"[bold]x": {}, "[/]": {objective.critic_dim: 3}}}\n'
    state = sweep_state(tmp_path, domains)
    heading, *rows = shown(table(state, 10))
    assert "[/red] :smile:" in heading
    assert ["[bold]x" in rows[0], "[/]" in rows[1]] == [True, True]


def test_the_caption_before_the_first_trial_and_later(tmp_path):
    state = sweep_state(tmp_path, RATE, sampled=True)
    pace = Pace(state)
    assert caption(state, 3.0, pace) == "0 of 6 trials finished, 0:03 elapsed; the first trial is starting"
    assert shown(table(state, 10))[0].split()[:2] == ["trial", "learning_rate"]
    first = begin(state, optimizer__learning_rate=1e-3)
    state.reported(first, report(0, [9.0, 9.0]))
    assert caption(state, 20.0, pace) == "0 of 6 trials finished, 0:20 elapsed"  # Ray has taken 20 s to start
    complete(state, first, [3.0, 5.0])
    state.reported(begin(state, optimizer__learning_rate=2e-3), report(3, [3.0, 5.0]))
    # one trial and a half of six in 30 s: 90 s for the rest
    best = "best so far trial 0 (learning_rate = 0.001): 4.0 ± 1.4 (n=2)"
    assert caption(state, 50.0, pace) == f"1 of 6 trials finished, 0:50 elapsed, about 1:30 left; {best}"


def test_a_resumed_sweep_estimates_by_its_own_pace(tmp_path):
    state = many(tmp_path, 10)
    for name in list(state.records)[:8]:
        complete(state, name, [3.0, 5.0])
    pace = Pace(state)
    assert "the first trial is starting" in caption(state, 5.0, pace)
    *_, name, last = state.records
    state.reported(name, report(0, [3.0, 5.0]))
    caption(state, 10.0, pace)
    complete(state, name, [3.0, 5.0], [3.0, 5.0])
    assert "about 0:40 left" in caption(state, 50.0, pace)  # one trial took 40 s, one is left
    complete(state, last, [3.0, 5.0])
    assert "left" not in caption(state, 90.0, pace)


def test_each_change_is_one_line_once(tmp_path):
    state = sweep_state(tmp_path)
    lines = Lines(state)
    assert lines.new() == []
    state.started(state.records["critic_dim=1"].trial)
    assert lines.new() == ["critic_dim=1  RUNNING"]
    state.reported("critic_dim=1", report(0, [3.0, 5.0]))
    state.reported("critic_dim=1", report(3, [1.0, 2.0]))
    assert lines.new() == [
        "critic_dim=1  step 0/6  fid_digits 4.0 ± 1.4 (n=2)  RUNNING",
        "critic_dim=1  step 3/6  fid_digits 1.50 ± 0.71 (n=2)  RUNNING",
    ]
    assert lines.new() == []
    state.reported("critic_dim=1", report(6, [None, 2.0], Status.DIVERGED, "1 of 2 replicates diverged"))
    assert lines.new() == ["critic_dim=1  step 6/6  fid_digits 2 (n=1)  DIVERGED  1 of 2 replicates diverged"]
    state.started(state.records["critic_dim=4"].trial)
    state.reported("critic_dim=4", report(0, [None, None]))
    state.ended("critic_dim=4", Status.PRUNED, "asha at step 0")
    state.ended("critic_dim=16", Status.FAILED, "OSError: [Errno 28]")
    assert lines.new() == [
        "critic_dim=4  step 0/6  fid_digits –  RUNNING",
        "critic_dim=4  step 0/6  fid_digits –  PRUNED  asha at step 0",
        "critic_dim=16  FAILED  OSError: [Errno 28]",
    ]
    assert lines.new() == []


def test_trials_that_join_a_running_sweep_are_reported(tmp_path):
    state = sweep_state(tmp_path, RATE, sampled=True)
    lines = Lines(state)
    begin(state, optimizer__learning_rate=1e-3)
    assert lines.new() == ["learning_rate=0.001  RUNNING"]


def test_earlier_events_are_not_printed_again(tmp_path):
    state = sweep_state(tmp_path)
    complete(state, "critic_dim=1", [3.0, 5.0], [1.0, 2.0])
    state.reported("critic_dim=4", report(3, [3.0, 5.0]))
    lines = Lines(state)
    state.started(state.records["critic_dim=4"].trial)
    state.reported("critic_dim=4", report(3, [3.0, 5.0]))  # a resumed trial repeats the report of its checkpoint
    assert lines.new() == []
    state.reported("critic_dim=4", report(6, [3.0, 5.0], Status.COMPLETED))
    assert lines.new() == ["critic_dim=4  step 6/6  fid_digits 4.0 ± 1.4 (n=2)  COMPLETED"]


def test_a_report_newer_than_the_status_is_printed_once(tmp_path):
    """Between the two reads of `Lines` the runner may report: it stores the report first, then the status."""
    state = sweep_state(tmp_path)
    lines = Lines(state)
    record = state.records["critic_dim=1"]
    state.started(record.trial)
    lines.new()
    record.add(report(6, [3.0, 5.0], Status.COMPLETED))  # the status is still RUNNING
    assert [line.split()[-1] for line in lines.new()] == ["COMPLETED"]
    record.status = Status.COMPLETED
    assert lines.new() == []
    other = state.records["critic_dim=4"]
    other.status = Status.RUNNING
    other.add(report(6, [3.0, 5.0], Status.COMPLETED))
    assert [line.split()[-1] for line in lines.new()] == ["COMPLETED"]


def test_the_last_change_is_printed_though_the_output_is_slow(tmp_path):
    class Slow(io.StringIO):
        def write(self, text):
            time.sleep(0.1)
            return super().write(text)

    state, output = sweep_state(tmp_path), Slow()
    with watching(state, Console(file=output)):
        complete(state, "critic_dim=1", [3.0, 5.0])
        time.sleep(0.05)  # the first line is being written
        complete(state, "critic_dim=4", [3.0, 5.0])
    assert [line.split()[1] for line in output.getvalue().splitlines()] == ["critic_dim=1", "critic_dim=4"]


def test_without_a_terminal_every_change_is_printed_while_another_thread_writes(tmp_path):
    state = many(tmp_path)
    output = io.StringIO()

    def train():
        for name in state.records:
            state.started(state.records[name].trial)
            for step in (0, 3):
                state.reported(name, report(step, [3.0, 5.0]))
            state.reported(name, report(6, [None, 5.0], Status.DIVERGED, "[/] [bold]no[/bold] :smile: größer"))
            time.sleep(0.002)

    worker = threading.Thread(target=train)
    with watching(state, Console(file=output, width=40)):
        worker.start()
        worker.join()
    lines = output.getvalue().splitlines()
    reports = [line.split()[1:] for line in lines if "step" in line]
    assert [words[:3] for words in reports] == [[n, "step", f"{s}/6"] for n in state.records for s in (0, 3, 6)]
    diverged = [line for line in lines if line.endswith("DIVERGED  [/] [bold]no[/bold] :smile: größer")]
    assert len(diverged) == 30
    assert 90 <= len(lines) <= 120  # a start that is at once followed by a report needs no line of its own


@pytest.mark.parametrize("sampled", [False, True])
def test_on_a_terminal_the_table_is_drawn_to_the_end(sampled, tmp_path):
    state = sweep_state(tmp_path, RATE, sampled=True) if sampled else many(tmp_path)
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=12, color_system=None)
    with watching(state, console):
        name = begin(state, optimizer__learning_rate=1e-3) if sampled else "critic_dim=7"
        complete(state, name, [3.0, 5.0])
    last = console.file.getvalue().split("progress")[-1]
    assert "COMPLETED" in last
    assert f"1 of {6 if sampled else 30} trials finished" in last
    assert last.count("\n") <= 12


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599.4, "59:59"), (3723, "1:02:03"), (90000, "25:00:00")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_spreads_name_their_count():
    assert spread(Summary(24.853, 0.94, 3)) == "24.85 ± 0.94 (n=3)"
    assert spread(Summary(24.853, None, 1)) == "24.85 (n=1)"
    assert spread(None) == "–"


def test_the_plan_is_aligned(tmp_path):
    space = SPACE.replace("replicates", RATE.replace("loguniform: [1e-4, 1e-2]", "grid: [1e-4, 1e-2]") + "replicates")
    path = write_space(tmp_path, space)
    plan = make_plan(load_sweep(path), tmp_path)
    lines = plan_lines(plan, None, Capacity((Node(2),)), SweepEstimate(60.0, 400_000_000, 40, 2))
    assert lines[0] == "axis: Does K matter?"
    assert lines[1:3] == ["  objective.critic_dim:    1, 4, 16", "  optimizer.learning_rate: 0.0001, 0.01"]
    labels = ["trials:", "data:", "metric:", "search:", "pruner:", "resources:", "time:", "memory:", "resolution:"]
    facts = lines[3:]
    assert [line.split()[0] for line in facts if not line.startswith(" ")] == labels
    (column,) = {len(line) - len(line.removeprefix(line.split()[0]).lstrip()) for line in facts if line[0] != " "}
    assert all(line[column] != " " and line[column - 1] == " " for line in facts)
    assert facts[0].startswith("trials:     6 × 2 replicates, 6 steps each")
    assert "16.33 standard deviations" in "\n".join(facts)
    assert max(map(len, lines)) <= 100
