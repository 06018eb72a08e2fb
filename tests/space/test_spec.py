# ruff: noqa: E501 - a table of messages, each in full
import pytest
from sweeps import BASE, METHODS_SPACE, SPACE, write_space

from gramtune.errors import SpecError
from gramtune.space.domain import grid_assignments
from gramtune.space.load import Overrides, load_config, load_sweep


def issues(folder, space=SPACE, base=BASE, **overrides):
    """Each issue as `<file name or option>:<line>: message`."""
    path = write_space(folder, space, base)
    with pytest.raises(SpecError) as caught:
        load_sweep(path, Overrides(**overrides))
    return [str(issue).replace(f"{folder}/", "") for issue in caught.value.issues]


def test_a_good_file_loads_with_its_base_inline(tmp_path):
    sweep = load_sweep(write_space(tmp_path))
    assert sweep.name == "axis"
    config = sweep.config({"objective.critic_dim": 16})
    assert config.objective.critic_dim == 16
    assert config.training.replicates == 2
    assert config.optimizer.learning_rate == 1e-3


def test_overrides_reach_the_configuration(tmp_path):
    # the field's first mistake: a sampled or overridden hyperparameter that never reaches the model
    overrides = Overrides(name="other", replicates=5, set=("optimizer.learning_rate=2e-4", "objective.bandwidths=[3]"))
    sweep = load_sweep(write_space(tmp_path), overrides)
    config = sweep.config({"objective.critic_dim": 1})
    assert (sweep.name, sweep.replicates, config.training.replicates) == ("other", 5, 5)
    assert config.optimizer.learning_rate == 2e-4
    assert config.objective.bandwidths == (3.0,)


@pytest.mark.parametrize(
    ("lines", "overrides", "said"),
    [
        ("", {"samples": 9}, "--samples: search.samples has no effect: a grid has every combination"),
        ("search: {seed: 3}\n", {}, "axis.yaml:8: search.seed has no effect: a grid has every combination"),
        ("search: {points: [{objective.critic_dim: 4}]}\n", {}, "axis.yaml:8: search.points has no effect"),
        ("", {"set": ("objective.critic_dim=3",)}, "--set objective.critic_dim has no effect: the space varies it"),
        (
            "",
            {"set": ("training.replicates=9",)},
            "--set training.replicates has no effect: `replicates` and --replicates",
        ),
        ("", {"set": ("objective.ridge=0.1",), "replicates": 3}, None),
    ],
)
def test_what_has_no_effect_is_said(lines, overrides, said, tmp_path):
    found = load_sweep(write_space(tmp_path, SPACE + lines), Overrides(**overrides)).idle
    assert len(found) == (said is not None)
    assert all(said in line for line in found)


def test_an_option_for_some_trials_has_an_effect(tmp_path):
    """A key that some cases leave alone, or a conditional key, is that of the base elsewhere."""
    settings = ("objective.bandwidths=[5]", "optimizer.learning_rate=1e-2", "objective.critic_dim=3")
    assert load_sweep(write_space(tmp_path, METHODS_SPACE), Overrides(set=settings)).idle == ()
    space = METHODS_SPACE.replace("GRAM: {", "GRAM: {optimizer.learning_rate: 1e-3, ")
    (line,) = load_sweep(write_space(tmp_path, space), Overrides(set=settings)).idle
    assert line == "--set optimizer.learning_rate has no effect: the space varies it by method"


def test_another_base_gives_the_sweep_another_name(tmp_path):
    path = write_space(tmp_path)
    (tmp_path / "base" / "other.yaml").write_text(BASE.replace("steps: 6", "steps: 9"))
    sweep = load_sweep(path, Overrides(base="other"))
    assert sweep.name == "axis-other"
    assert sweep.config({"objective.critic_dim": 1}).training.steps == 9


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[1, 4, 16]", "[0, -3, 4]", ["axis.yaml:5: objective.critic_dim = 0 should be greater than 0",
                                      "axis.yaml:5: objective.critic_dim = -3 should be greater than 0"]),
        ("[1, 4, 16]", "[4.5]", ["axis.yaml:5: objective.critic_dim = 4.5 should be an integer"]),
        ("[1, 4, 16]", '["1e-3"]', ["axis.yaml:5: objective.critic_dim = '1e-3' should be an integer; a number in quotes is a string"]),
        ("[1, 4, 16]", "[]", ["axis.yaml:5: space.objective.critic_dim.grid = [] should be a list of at least 1"]),
        ("[1, 4, 16]", "[4, 4]", ["axis.yaml:5: space.objective.critic_dim: values must be distinct; 4 is repeated"]),
        ("{grid: [1, 4, 16]}", "{values: [1]}", ["axis.yaml:5: unknown key 'space.objective.critic_dim.values'; legal: grid, choice, uniform"]),
        ("{grid: [1, 4, 16]}", "{grid: [1], choice: [2]}", ["axis.yaml:5: space.objective.critic_dim: exactly one kind of domain is needed, got grid, choice; legal: grid, choice"]),
        ("objective.critic_dim: {grid: [1, 4, 16]}", "metric: {grid: [fid_digits]}", ["axis.yaml:4: space: metric cannot vary: trials are compared"]),
        ("{grid: [1, 4, 16]}", "{int: [9, 3]}", ["axis.yaml:5: space.objective.critic_dim: bounds [9, 3]: the first must be below the second"]),
        ("{grid: [1, 4, 16]}", "{logint: [0, 3]}", ["axis.yaml:5: space.objective.critic_dim: a log scale needs a positive lower bound"]),
        ("{grid: [1, 4, 16]}", "{grid: [1], when: {objective.nme: gram}}", ["axis.yaml:5: space.objective.critic_dim.when: 'objective.nme' should be a key that is varied above this one, or a key of the base"]),
        ("critic_dim:", "critc_dim:", ["axis.yaml:5: unknown key 'objective.critc_dim'; did you mean 'critic_dim'? legal: name, "]),
        ("replicates: 2", "replicas: 2", ["axis.yaml:6: unknown key 'replicas'; did you mean 'replicates'?"]),
        ("replicates: 2", "replicates: 0", ["axis.yaml:6: replicates = 0 should be greater than 0"]),
        ("replicates: 2", "metric: fid", ["axis.yaml:6: metric: 'fid' is not computed; the metrics here compute fid_digits"]),
        ("replicates: 2", "search: {name: grdi}", ["axis.yaml:6: search.name = 'grdi' is not legal; legal: 'grid', 'random'"]),
        ("gpu: 0}", "gpu: 1.5}", ["axis.yaml:7: resources.gpu: 1.5 should be a share of a GPU from 0 to 1, or auto; no trial can use more than one"]),
        ("base/tiny.yaml", "base/tny.yaml", ["axis.yaml:3: file 'base/tny.yaml' does not exist; base holds tiny.yaml"]),
        ("name: axis", "name: a/b", ["axis.yaml:1: name = 'a/b' should be letters, digits, '.', '_' and '-'"]),
        ("space:\n  objective.critic_dim: {grid: [1, 4, 16]}", "space: {}", ["axis.yaml:4: space = {} should be"]),
    ],
)  # fmt: skip
def test_issues_of_the_space_file(tmp_path, old, new, expected):
    assert old in SPACE
    found = [line for line in issues(tmp_path, SPACE.replace(old, new)) if "training.replicates" not in line]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("learning_rate: 1e-3", 'learning_rate: "1e-3"', "base/tiny.yaml:4: optimizer.learning_rate = '1e-3' should be a number; a number in quotes is a string"),
        ("learning_rate: 1e-3", "learning_rate: true", "base/tiny.yaml:4: optimizer.learning_rate = True should be a number"),
        ("learning_rate: 1e-3", "learning_rate: .nan", "base/tiny.yaml:4: optimizer.learning_rate = nan should be a finite number"),
        ("name: gram", "name: gramm", "base/tiny.yaml:2: objective.name = 'gramm' does not exist; did you mean 'gram'? legal: "),
        ("steps: 6", "step: 6", "base/tiny.yaml:5: unknown key 'training.step'; did you mean 'steps'?"),
        ("[fid_digits]", "[fid_digts]", "base/tiny.yaml:6: metrics[0].name = 'fid_digts' does not exist; did you mean 'fid_digits'?"),
        ("metric: fid_digits", "metric: fid", "base/tiny.yaml:7: metric: 'fid' is not computed"),
        ("data: {name: digits}", "data: digits", "base/tiny.yaml:1: data = 'digits' should be a mapping"),
    ],
)  # fmt: skip
def test_issues_of_the_base_are_found_there(tmp_path, old, new, expected):
    assert old in BASE
    assert any(line.startswith(expected) for line in issues(tmp_path, base=BASE.replace(old, new)))


def test_all_issues_of_all_sources_come_at_once(tmp_path):
    space = SPACE.replace("[1, 4, 16]", "[0]").replace("replicates", "replicas")
    base = BASE.replace("width: 4", "width: -4")
    lines = issues(tmp_path, space, base, set=("training.steps=0", "rubbish"))
    assert [line.split(": ")[0] for line in lines] == [
        "--set rubbish",
        "--set training.steps",
        "axis.yaml:5",
        "axis.yaml:6",
        "base/tiny.yaml:3",
    ]


def test_a_config_file_gets_the_same_treatment(tmp_path):
    write_space(tmp_path)
    base = tmp_path / "base" / "tiny.yaml"
    assert load_config(base, ("training.steps=7",)).training.steps == 7
    with pytest.raises(SpecError, match=r"--set training\.stps: unknown key 'training\.stps'; did you mean 'steps'"):
        load_config(base, ("training.stps=7",))


def test_cases_bundle_values_and_conditions_leave_keys_out(tmp_path):
    sweep = load_sweep(write_space(tmp_path, METHODS_SPACE))
    found = [dict(a) for a in grid_assignments(sweep.space, sweep.base)]
    gram = [{"method": "GRAM", "objective.critic_dim": k, "training.batch_size": b} for k in (2, 3) for b in (8, 16)]
    assert found == [*gram, *({"method": "GAN", "training.batch_size": b} for b in (8, 16))]
    configs = [sweep.config(a) for a in found]
    assert [c.objective.name for c in configs] == ["gram"] * 4 + ["gan"] * 2
    assert [c.objective.critic_dim for c in configs[:4]] == [2, 2, 3, 3]
    assert configs[0].objective.bandwidths == (2.0, 3.0)
    assert [c.optimizer.learning_rate for c in configs] == [1e-3] * 4 + [1e-4] * 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # each value is legal alone: `sweep` used to die on the combination
        (", when: {method: GRAM}", "", "axis.yaml:8: unknown key 'objective.critic_dim'; legal: name, critic_iterations, loss; this happens for method = 'GAN'"),
        ("{method: GRAM}", "{method: []}", "axis.yaml:8: space.objective.critic_dim.when: method = [] should be a value, or"),
        # the base's value would have been compared, not the varied one
        ("{method: GRAM}", "{objective.critic_dim: 2}", "axis.yaml:8: space.objective.critic_dim.when: 'objective.critic_dim' should be"),
        ("{method: GRAM}", "{training.batch_size: 8}", "axis.yaml:8: space.objective.critic_dim.when: 'training.batch_size' should be"),
        ("[8, 16]", str([*range(1, 3000)]), "axis.yaml:9: space.training.batch_size.grid = [1, 2, "),
        ("[8, 16]}", f"{[*range(1, 200)]}}}\n  training.seed: {{grid: {[*range(200)]}}}", "axis.yaml:3: the grid of `space` has more than 10,000 trials; use fewer values, or `search: {name: random,"),
    ],
)  # fmt: skip
def test_issues_of_values_together(tmp_path, old, new, expected):
    assert old in METHODS_SPACE
    (line,) = issues(tmp_path, METHODS_SPACE.replace(old, new))
    assert line.startswith(expected)
    assert len(line) < 700


def test_issues_in_cases_and_conditions_have_their_own_lines(tmp_path):
    space = METHODS_SPACE.replace("learning_rate: 1e-4", "learning_rate: -1").replace("method: GRAM}", "method: GRAN}")
    assert issues(tmp_path, space) == [
        "axis.yaml:7: optimizer.learning_rate = -1 should be greater than 0",
        "axis.yaml:8: space.objective.critic_dim.when: method is never 'GRAN'; legal: GRAM, GAN",
    ]


def test_another_name_keeps_the_fields_that_both_components_have(tmp_path):
    # rmsprop has no beta1: the base's would be an unknown key of every trial
    adam, rmsprop = "name: adam, beta1: 0.5, learning_rate: 1e-3", "optimizer.name: rmsprop, network.name: mlp"
    space = METHODS_SPACE.replace("{objective.name: gan,", f"{{{rmsprop},")
    sweep = load_sweep(write_space(tmp_path, space, BASE.replace("name: adam, learning_rate: 1e-3", adam)))
    config = sweep.config({"method": "GAN", "training.batch_size": 8})
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("rmsprop", 1e-4)
    assert (config.network.name, config.network.noise_dim) == ("mlp", 4)
    assert sweep.config({"method": "GRAM", "training.batch_size": 8}).optimizer.beta1 == 0.5


def test_a_field_that_the_base_lacks_and_every_case_brings_may_be_varied(tmp_path):
    # each value was once tried on the base alone, which is no trial of a sweep with cases
    base = BASE.replace("{name: dcgan, noise_dim: 4, width: 4}", "{name: mlp, noise_dim: 4}")
    cases = "  network:\n    cases:\n      dcgan: {network.name: dcgan}\n"
    space = METHODS_SPACE.replace(
        "  training.batch_size", cases + "  network.width: {grid: [4, 0]}\n  training.batch_size"
    )
    assert issues(tmp_path, space, base) == ["axis.yaml:12: network.width = 0 should be greater than 0"]
    sweep = load_sweep(write_space(tmp_path, space.replace("[4, 0]", "[4, 8]"), base))
    found = [sweep.config(a).network for a in grid_assignments(sweep.space, sweep.base)]
    assert [(network.name, network.width) for network in found] == [("dcgan", w) for w in (4, 4, 8, 8)] * 3
