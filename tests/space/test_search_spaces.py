"""The shipped space files: their plans, that they run, and that their settings are those of the paper."""

from dataclasses import replace
from pathlib import Path

import pytest

from gramtune.backends.optuna.search import OptunaProposer
from gramtune.errors import SpecError
from gramtune.objectives.gram import PRESETS, Gram
from gramtune.record.journal import load_state
from gramtune.record.report import Status
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.in_process import InProcessRunner
from gramtune.space.load import Overrides, load_config, load_sweep
from gramtune.space.plan import make_plan

FOLDER = Path(__file__).parents[2] / "search_spaces"
SPACES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
BASES = sorted(path.stem for path in (FOLDER / "base").glob("*.yaml"))
TRIALS = {
    "architecture": 2 * 3,
    "batch_size": 3 * 5,
    "batch_size_methods": 6 * 5,
    "critic_dim": 10,
    "critic_dim_reduction": 2 * 11,
    "critic_steps": 5 * 4,
    "dirac": 6,
    "flow_ablation": 2 * 2 * 3 * 2,
    "gradient_penalty": 3 * 5,
    "gram_variants": 5,
    "joint": 20,
    "joint_methods": 30,
    "learning_rate": 3 * 4,
    "learning_rate_methods": 6 * 4,
    "mmd_gan_ablation": 4 * 2,
    "objectives": 17,
    "ring_methods": 5 * 3 * 4,
    "ring_projection": 1,
    "ring_stability": 4 * 3 * 4,
    "samples_over_training": 3,
    "spectral": 4 * 3,
}
EMBEDDED = ["digits", "ring", "ring_sharp"]
"""Bases that need no download."""
OWN_DATA = ["dirac"]
"""Spaces about one data set: another base is not what they are for."""
MISFITS = {
    (space, ring): "network dcgan needs square images"
    for space in ("architecture", "joint", "joint_methods")
    for ring in ("ring", "ring_sharp")
}
"""Spaces that vary what a base cannot have, and what they say."""
METHODS = ["GRAM", "GAN", "MMD-GAN"]
TINY = tuple(f"training.{key}" for key in ("steps=20", "eval_every=20", "eval_at=[]", "eval_samples=100"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root that the whole module shares: reference features are computed once."""
    return tmp_path_factory.mktemp("root")


def planned(name, **overrides):
    path = FOLDER / f"{name}.yaml"
    return make_plan(load_sweep(path, Overrides(**overrides)), FOLDER)


def base(name):
    return load_config(FOLDER / "base" / f"{name}.yaml")


def covering(trials):
    """Trials in which each value of each varied key occurs, as few as one pass finds."""
    seen, chosen = set(), []
    for trial in trials:
        values = {(key, str(value)) for key, value in trial.assignment.items()}
        if values - seen:
            seen |= values
            chosen.append(trial)
    return tuple(chosen)


def test_every_file_is_known_here():
    assert list(TRIALS) == SPACES
    assert BASES == ["celeba", "cifar10", "digits", "image_folder", "mnist", "ring", "ring_sharp"]


@pytest.mark.parametrize("name", SPACES)
def test_it_plans_without_a_warning_and_says_what_it_shows(name):
    plan = planned(name)
    assert plan.size == TRIALS[name]
    assert plan.warnings == ()
    assert plan.sweep.name == name.replace("_", "-")
    assert plan.sweep.about.endswith(("?", ")"))


def slow_but(quick, pairs):
    """Of pairs of space and base, those that are not `quick` are marked slow."""
    return [pytest.param(*pair, marks=() if quick(*pair) else pytest.mark.slow) for pair in pairs]


@pytest.mark.parametrize(
    ("name", "on"),
    slow_but(
        lambda name, on: (name, on) in (("learning_rate", "digits"), ("ring_projection", "ring")),
        [(name, on) for name in SPACES if name not in OWN_DATA for on in EMBEDDED if (name, on) not in MISFITS],
    ),
)
def test_it_runs_for_20_steps_on_every_base_without_download(name, on, tmp_path, root, monkeypatch):
    monkeypatch.setenv("GRAMTUNE_DATA", str(root))
    narrow = "network.width=4" if base(on).network.name == "dcgan" and name != "ring_stability" else None
    plan = planned(name, base=on, replicates=1, set=(*TINY, *([narrow] if narrow else [])))
    plan = replace(plan, sweep=shortened(plan.sweep), trials=tuple(map(unboosted, covering(plan.trials))))
    state = load_state(tmp_path, plan)
    grid = plan.sweep.search.name == "grid"
    InProcessRunner().run(Driver(state, tmp_path, NothingNew() if grid else OptunaProposer(state, tmp_path)))
    assert len(state.records) == (len(plan.trials) if grid else len(plan.sweep.space["method"].cases))
    for record in state.records.values():
        assert record.status in (Status.COMPLETED, Status.PRUNED), record.reason
        assert all(value is not None for value in record.last.metrics[plan.metric])
    if not grid:
        tried = {record.trial.assignment["method"] for record in state.records.values()}
        assert tried == set(plan.sweep.space["method"].cases)


def test_the_dirac_space_runs_on_its_own_base(tmp_path, root, monkeypatch):
    monkeypatch.setenv("GRAMTUNE_DATA", str(root))
    plan = planned("dirac", replicates=1, set=TINY)
    state = load_state(tmp_path, plan)
    InProcessRunner().run(Driver(state, tmp_path, NothingNew()))
    assert [record.status for record in state.records.values()] == [Status.COMPLETED] * TRIALS["dirac"]


def unboosted(trial):
    """MMD-GAN's hundred critic steps per generator step at the start would take most of the time."""
    if trial.config.objective.name not in ("mmd_gan", "wgan"):
        return trial
    fewer = trial.config.objective.model_copy(update={"boosted_critic_iterations": 2, "critic_iterations": 2})
    return replace(trial, config=trial.config.model_copy(update={"objective": fewer}))


def shortened(sweep):
    """As many samples as there are points to try first: one per method."""
    if sweep.search.name == "grid":
        return sweep
    methods = sweep.space["method"].cases
    assert len(sweep.search.points) == len(methods)
    fewer = {"objective.boosted_steps": 0, "objective.boost_every": None}  # as `unboosted`
    cases = {name: case | fewer if name == "MMD-GAN" else case for name, case in methods.items()}
    space = sweep.space | {"method": sweep.space["method"].model_copy(update={"cases": cases})}
    search = sweep.search.model_copy(update={"samples": len(methods)})
    return sweep.model_copy(update={"search": search, "space": space})


@pytest.mark.parametrize(
    ("name", "other"),
    slow_but(
        lambda _, other: other in ("cifar10", "ring_sharp"),
        [(name, other) for name in SPACES if name not in OWN_DATA for other in BASES],
    ),
)
def test_on_any_base_only_files_are_missing(name, other, tmp_path, offline):
    path = FOLDER / f"{name}.yaml"
    sweep = load_sweep(path, Overrides(base=other))
    assert sweep.name == f"{name.replace('_', '-')}-{other}"
    if other in EMBEDDED and (name, other) not in MISFITS:
        plan = make_plan(sweep, tmp_path)
        assert (plan.size, plan.warnings) == (TRIALS[name], ())
        return
    with pytest.raises(SpecError) as caught:
        make_plan(sweep, tmp_path)
    messages = [issue.message for issue in caught.value.issues]
    expected = (MISFITS.get((name, other), f"data set {other}"), "Inception weights are not on disk")
    assert all(found.startswith(one) for found, one in zip(messages, expected, strict=False))
    assert len(messages) == (1 if (name, other) in MISFITS else 2)


def test_the_axis_of_figure_5c_reaches_beyond_its_break_on_cifar10():
    """Guards against a base that promises the paper's experiment and stops at K = 512, half of where the break is."""
    path = FOLDER / "critic_dim.yaml"
    on_cifar, on_digits = (
        load_sweep(path, Overrides(base=name)).space["objective.critic_dim"].grid for name in ("cifar10", "digits")
    )
    assert on_cifar == (*on_digits, 1000, 2000, 4000)
    assert max(on_digits) == 512


def test_the_template_for_ones_own_images_lacks_nothing_but_images(tmp_path, offline):
    path = FOLDER / "critic_dim.yaml"
    with pytest.raises(SpecError) as caught:
        make_plan(load_sweep(path, Overrides(base="image_folder")), tmp_path)
    data, weights = (issue.message for issue in caught.value.issues)
    assert data.startswith("data set image_folder: ")
    assert weights.startswith("Inception weights are not on disk")


@pytest.mark.parametrize("name", ["cifar10", "celeba"])
def test_images_have_the_settings_of_section_4(name):
    config = base(name)
    assert (config.objective.name, config.network.name, config.network.critic_kind) == ("gram", "dcgan", "standard")
    assert config.objective.critic_dim == config.network.noise_dim == 128
    assert config.objective.bandwidths == (1, 2, 4, 8, 16)
    assert (config.optimizer.name, config.optimizer.learning_rate, config.optimizer.beta1) == ("adam", 5e-5, 0.5)
    assert (config.training.batch_size, config.training.replicates, config.metric) == (64, 3, "fid")


def test_mnist_has_the_settings_of_appendix_a3():
    config = base("mnist")
    assert (config.objective.critic_dim, config.objective.bandwidths) == (100, (0.1, 1, 10, 100))
    assert (config.network.noise_dim, config.network.prior) == (100, "uniform")
    assert (config.network.hidden, config.network.critic_channels) == ((600, 600, 800), (16, 32, 32))
    assert (config.optimizer.name, config.optimizer.learning_rate, config.optimizer.beta1) == ("adam", 1e-3, 0.5)
    assert config.network.generator_norm == "batch"
    assert config.training.batch_size == 200


def test_the_ring_has_the_settings_of_the_submission_s_code():
    config = base("ring")
    data, objective, training = config.data, config.objective, config.training
    assert (data.name, data.dim, data.modes, data.radius, data.std, data.n_train) == ("ring", 2, 8, 2, 0.2, 1000)
    assert (objective.preset, objective.critic_dim, objective.bandwidths) == ("submission", 10, (1,))
    assert (objective.positivity_reduction, objective.mmd_reduction, objective.sqrt_offset) == ("mean", "sum", 1e-6)
    assert (config.network.noise_dim, config.network.prior) == (20, "normal")
    assert (config.network.hidden, config.network.critic_hidden) == ((100, 100), (100, 100))
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate) == ("adam", 1e-3)
    assert (optimizer.beta1, optimizer.beta2) == (0.5, 0.999)
    assert (training.sampling, training.batch_size, training.steps) == ("epochs", 200, 10_000)
    assert training.steps * training.batch_size == 2000 * data.n_train
    assert config.metric == "energy_distance"
    assert {"modes", "high_quality"} <= set(config.directions)


def test_the_sharp_ring_differs_in_the_spread_alone():
    ring, sharp = base("ring"), base("ring_sharp")
    assert sharp == ring.model_copy(update={"data": ring.data.model_copy(update={"std": 0.01})})


def test_figure_1_is_the_ring_projected_to_the_plane():
    (trial,) = planned("ring_projection").trials
    ring, early = base("ring"), {"eval_every": 500, "eval_at": (10, 20, 50, 100, 200)}
    assert trial.config == ring.model_copy(
        update={
            "objective": ring.objective.model_copy(update={"critic_dim": 2}),
            "training": ring.training.model_copy(update=early),
        }
    )


def test_ring_stability_has_the_settings_of_appendix_a1():
    trials = {
        (t.assignment["method"], t.assignment["width"], t.assignment["network.noise_dim"]): t.config
        for t in planned("ring_stability").trials
    }
    assert {key[1:] for key in trials} == {(w, h) for w in ("20", "100", "200") for h in (2, 4, 8, 16)}
    for (method, width, h), config in trials.items():
        assert (config.network.noise_dim, config.network.hidden) == (h, (int(width), int(width)))
        assert config.network.critic_hidden == (100, 100)
        assert config.training.batch_size == 200
        optimizer, objective = config.optimizer, config.objective
        if method == "GRAM":
            assert (optimizer.name, optimizer.learning_rate, optimizer.beta1) == ("adam", 1e-3, 0.5)
            assert (objective.name, objective.critic_dim, objective.bandwidths) == ("gram", 10, (1,))
        elif method == "GAN":
            assert (optimizer.name, optimizer.learning_rate, optimizer.beta1) == ("adam", 1e-4, 0.5)
            assert objective.name == "gan"
        elif method == "MMD-net":
            assert (optimizer.name, optimizer.learning_rate, optimizer.alpha) == ("rmsprop", 1e-3, 0.9)
            assert (objective.name, objective.bandwidths) == ("mmd_net", (1,))
        else:  # as JuliaGRAM has it
            assert (optimizer.name, optimizer.learning_rate, optimizer.beta1) == ("adam", 5e-5, 0.5)
            assert (objective.name, objective.critic_dim, objective.weight_clamp) == ("mmd_gan", 10, 0.1)
            assert objective.bandwidths == (1,)
            assert {objective.critic_steps(step) for step in (0, 1, 24, 500)} == {5}


@pytest.mark.parametrize("name", ["architecture", "batch_size", "learning_rate"])
def test_methods_differ_in_nothing_but_the_method(name):
    # section 4: shared hyperparameters are shared; what MMD-GAN alone has is that of its authors' code
    path = FOLDER / f"{name}.yaml"
    sweep = load_sweep(path, Overrides(base="cifar10"))
    first = {key: domain.values[0] for key, domain in sweep.space.items()}
    gram, gan, mmd_gan = (sweep.config({**first, "method": method}) for method in METHODS)
    assert [c.objective.name for c in (gram, gan, mmd_gan)] == ["gram", "gan", "mmd_gan"]
    assert gram.network == gan.network == mmd_gan.network
    assert gram.training == gan.training == mmd_gan.training
    assert gram.optimizer == gan.optimizer
    assert (mmd_gan.optimizer.name, mmd_gan.optimizer.learning_rate) == ("rmsprop", gram.optimizer.learning_rate)
    assert mmd_gan.objective.critic_dim == gram.objective.critic_dim
    assert mmd_gan.objective.bandwidths == gram.objective.bandwidths == (1, 2, 4, 8, 16)
    assert (mmd_gan.objective.weight_clamp, mmd_gan.objective.critic_iterations) == (0.01, 5)
    assert mmd_gan.objective.feasible_set_reduction
    assert mmd_gan.objective.autoencoder


def test_the_axes_hold_the_papers_own_values():
    axes = {"learning_rate": ("optimizer.learning_rate", 5e-5), "batch_size": ("training.batch_size", 64)}
    for name, (key, value) in axes.items():
        assert value in load_sweep(FOLDER / f"{name}.yaml").space[key].values
    kinds = [t.config.network.critic_kind for t in planned("architecture").trials]
    assert kinds == ["standard"] * 3 + ["weak"] * 3


def test_the_ablation_has_the_rows_and_columns_of_table_4():
    found = [
        (t.config.objective.feasible_set_reduction, t.config.objective.autoencoder, t.config.training.batch_size)
        for t in planned("mmd_gan_ablation").trials
    ]
    switches = [(True, True), (True, False), (False, True), (False, False)]
    assert found == [(*pair, batch) for pair in switches for batch in (64, 300)]
    assert {t.config.optimizer.name for t in planned("mmd_gan_ablation").trials} == {"rmsprop"}


@pytest.mark.parametrize("name", ["digits", "cifar10", "ring"])
def test_each_variant_is_its_preset_with_the_k_of_the_base(name):
    """Bandwidths of the base would go before the preset's; a K of the space would go before the base's."""
    sweep = load_sweep(FOLDER / "gram_variants.yaml", Overrides(base=name))
    of_base = base(name).objective.critic_dim
    for variant in sweep.space["variant"].values:
        objective = sweep.config({"variant": variant}).objective
        assert objective == Gram.model_validate({"preset": variant, "critic_dim": of_base})
    assert set(sweep.space["variant"].values) == set(PRESETS)


@pytest.mark.parametrize("name", BASES)
def test_each_base_has_the_objective_of_the_code_that_made_its_figures(name):
    expected = "flow" if name in ("cifar10", "celeba", "image_folder") else "submission"
    assert base(name).objective.preset == expected
