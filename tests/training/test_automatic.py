"""`stages: {kind: auto}`: one folder that everything else takes, and interruptions leave no trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import concord as cc
from concord.auto import Choice, select
from concord.auto.combine import predict_in_order
from concord.cli import app
from concord.config import Config
from concord.decoding import Decoders
from concord.deploy import from_pretrained
from concord.errors import ConcordWarning, ConfigError, RangeError, SourceShiftWarning
from concord.fitting.checkpoints import Checkpoints
from concord.learners import StreamLearner
from concord.learners.frozen import HEADS
from concord.networks import TaskwiseNetwork
from concord.runs import automatic as room
from concord.runs import build, evaluate, finished, load_run, predict_split, train
from config_worlds import config_of, world, write

AUTO = {"kind": "auto", "effort": "fast"}


@pytest.fixture(scope="module", autouse=True)
def _brief_heads() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HEADS, "steps", 8)
        yield


def automatic(folder: Path, kind: str = "features", n: int = 60, **changes: Any) -> Config:
    values = world(folder, kind, n) | {"couplings": []}
    return config_of(values, **({"stages": AUTO, "training__steps": 4} | changes))


def same(first: Any, second: Any) -> bool:
    mine, other = first.network.state_dict(), second.network.state_dict()
    return list(mine) == list(other) and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was decided, in turn."""
    seen: list[Any] = []

    def spy(learner: Any, rows: Any, *arguments: Any, **options: Any) -> Any:
        outcome = select(learner, rows, *arguments, **options)
        seen.append((learner, rows, outcome))
        return outcome

    monkeypatch.setattr(room, "select", spy)
    return seen


HELD = {"kind": "auto", "effort": "holdout"}
PROBE = {"kind": "auto", "effort": "probe"}


@pytest.mark.filterwarnings("ignore:effort (holdout|probe):concord.errors.ConcordWarning")
@pytest.mark.parametrize("stages", [AUTO, HELD, PROBE], ids=["fast", "holdout", "probe"])
@pytest.mark.parametrize("kind", ["features", "images", "texts"])
def test_a_folder_predicts_what_was_decided(
    tmp_path: Path, kind: str, stages: dict[str, Any], outcomes: list[Any]
) -> None:
    config = automatic(tmp_path, kind, stages=stages)
    said: dict[str, Any] = {}

    real = room._network

    def keeping(learner: Any, outcome: Any) -> Any:
        _, rows, _ = outcomes[-1]
        said.update(outcome.probabilities(learner, rows))
        return real(learner, outcome)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_network", keeping)
        run = train(config)
    assert same(run, load_run(tmp_path / "out"))
    found = predict_split(load_run(tmp_path / "out"), config, "train")
    for task in run.tasks:
        columns = found.select(f"{task.name}.joint.{name}" for name in task.outputs).to_numpy()
        np.testing.assert_allclose(columns, said[task.name], atol=2e-5)
    facts = run.facts["auto"]
    assert facts["cost"] == outcomes[0][2].cost
    assert any(line.startswith("shape->marks: ") for line in facts["sentences"])
    if stages is PROBE:
        assert facts["cost"] <= 3.9
        assert "heads on frozen features of the trunk, of" in " ".join(facts["sentences"])
        assert not list((tmp_path / "out" / "auto").glob("*-*/"))
    if stages is HELD:
        assert facts["cost"] <= 3.0
        assert "rows were held out at first and judged" in " ".join(facts["sentences"])
    assert set(facts["choices"]) == {"shape", "marks"}
    assert set(evaluate(run, config, "test")["tasks"]) == {"shape", "marks"}
    assert "val/shape/accuracy" in run.facts["validation"]


def shift(folder: Path, kind: str) -> None:
    """Make the second source unlike the first: negatives, or another origin."""
    if kind == "images":
        for place in (folder / "images1").iterdir():
            Image.fromarray(255 - np.asarray(Image.open(place))).save(place)
    else:
        x = np.load(folder / "features1.npz")["x"]
        np.savez(folder / "features1.npz", x=x + np.float32(40))


@pytest.mark.filterwarnings("ignore:rows annotated for 'marks' hold the classes")  # of few rows, seen askew
@pytest.mark.parametrize("kind", ["features", "images"])
def test_sources_in_files_that_differ_are_told_and_share_nothing_unproven(tmp_path: Path, kind: str) -> None:
    config = automatic(tmp_path, kind)
    shift(tmp_path, kind)
    with pytest.warns(SourceShiftWarning, match="differ in their inputs"):
        run = train(config)
    facts = run.facts["auto"]
    assert any("'shape' and for 'marks' differ in their inputs" in line for line in facts["sentences"])
    assert {choice["start"] for choice in facts["choices"].values()} == {"single-task"}
    assert not list((tmp_path / "out" / "auto").glob("*-*/"))


def chosen(**forms: str) -> Any:
    """`select`, but with another choice of forms."""

    def decide(learner: Any, rows: Any, tasks: Any, relations: Any, **options: Any) -> Any:
        outcome = select(learner, rows, tasks, relations, **options)
        for task in tasks:
            form = forms[task.name]
            strength = {form: 0.5} if "/" in form else {}
            outcome.choices[task.name] = Choice(task.name, {form: 1.0}, strength, {}, {}, 0.0, 0.0, "")
        families = {form.partition("/")[0] for form in forms.values()}
        if "single-task" in families:
            models = {}
            for task in tasks:
                models[task.name] = learner.train(
                    rows, [task], kind="single-task", share=1.0, seed=5, task_weights={}, soft_weights={}
                )
            outcome.families["single-task"] = type(outcome.families["shared"])(
                "single-task", [models], {}, {task.name: 0.5 for task in tasks}
            )
        return outcome

    return decide


@pytest.mark.parametrize(
    "forms",
    [
        {"shape": "single-task", "marks": "shared"},
        pytest.param({"shape": "single-task", "marks": "single-task"}, marks=pytest.mark.slow),
        pytest.param({"shape": "shared", "marks": "single-task"}, marks=pytest.mark.slow),
    ],
)
def test_tasks_that_chose_differently_have_networks_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forms: dict[str, str]
) -> None:
    config = automatic(tmp_path)
    monkeypatch.setattr(room, "select", chosen(**forms))
    run = train(config)
    assert isinstance(run.network, TaskwiseNetwork)
    again = load_run(tmp_path / "out")
    assert same(run, again)
    alone = [task for task, form in forms.items() if form == "single-task"]
    for task in alone:
        own = again.network.networks[again.chosen[task]]  # type: ignore[index, operator, union-attr]
        assert list(own.heads) == [f"task_{task}"]  # no head that was never trained is kept
    assert predict_split(again, config, "test").height == 20
    for option in ("--out", "--hub"):
        words = ["export", str(tmp_path / "out"), option, str(tmp_path / option)]
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 0, found.output
    x = torch.randn(5, 6)
    for name, z in from_pretrained(tmp_path / "--hub").network(x).items():
        torch.testing.assert_close(z, again.network(x)[name])


def test_a_decoded_form_is_a_strength_of_the_joint_decoding(tmp_path: Path) -> None:
    built = build(automatic(tmp_path))
    relation = built.relations[0]
    choice = Choice("marks", {"shared/decoded": 1.0}, {"shared/decoded": 0.35}, {}, {}, 0.0, 0.0, "")
    plain = Choice("shape", {"shared": 1.0}, {}, {}, {}, 0.0, 0.0, "")

    class Outcome:
        tasks = built.tasks
        relations, choices = (relation,), {"marks": choice, "shape": plain}

    decoder: Decoders = room._decoder(Outcome())  # type: ignore[arg-type]
    assert decoder.strengths() == {relation.name: {"target": 0.35, "class": 0.0}}


@pytest.mark.parametrize("turned", [False, True])
def test_a_run_decodes_a_chain_in_the_order_in_which_it_was_judged(turned: bool) -> None:
    family, species = cc.MulticlassTask("family", ["a", "b"]), cc.MulticlassTask("species", ["c", "d", "e"])
    traits = cc.MultilabelTask("traits", ["t", "u"])
    rng = np.random.default_rng(0)
    first = cc.Relation(family, species, rng.dirichlet(np.ones(3), 2))
    second = cc.Relation(species, traits, rng.random((3, 2)))
    heads = {"family": rng.dirichlet(np.ones(2), 9), "species": rng.dirichlet(np.ones(3), 9)}
    heads["traits"] = rng.random((9, 2))
    tasks, relations = (family, species, traits), (second, first) if turned else (first, second)

    def choice(task: str, form: str) -> Choice:
        strength = {form: 0.7} if "/" in form else {}
        return Choice(task, {form: 1.0}, strength, {}, {}, 0.0, 0.0, "")

    chosen = {
        "family": choice("family", "shared"),
        "species": choice("species", "shared/decoded"),
        "traits": choice("traits", "shared/decoded"),
    }
    outcome = SimpleNamespace(tasks=tasks, relations=relations, choices=chosen)
    judged = predict_in_order(tasks, chosen, relations, lambda family, task: heads[task.name])
    found = room._decoder(outcome).decode(heads)  # type: ignore[arg-type]
    for name, expected in judged.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-12)


BRIEF: dict[str, Any] = {"checkpoints__every": 2, "training__average": 0.9}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(automatic(tmp_path_factory.mktemp("unbroken"), **BRIEF))


@pytest.fixture(scope="module")
def unbroken_holdout(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.warns(ConcordWarning, match="effort holdout: experimental"):
        return train(automatic(tmp_path_factory.mktemp("unbroken"), stages=HELD, **BRIEF))


def events(*quick: int, slow: tuple[int, ...]) -> list[Any]:
    """Checkpoints by number; a slow one is of the same kind as a quick one, of another network."""
    return [*quick, *(pytest.param(event, marks=pytest.mark.slow) for event in slow)]


@pytest.mark.parametrize("event", events(1, 3, 4, 17, slow=(7, 20)))
def test_a_training_that_was_stopped_decides_and_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Any, event: int
) -> None:
    stopped(tmp_path, monkeypatch, unbroken, event, AUTO)


@pytest.fixture(scope="module")
def unbroken_probe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.warns(ConcordWarning, match="effort probe: experimental"):
        return train(automatic(tmp_path_factory.mktemp("unbroken"), stages=PROBE, **BRIEF))


@pytest.mark.filterwarnings("ignore:effort probe:concord.errors.ConcordWarning")
@pytest.mark.parametrize("event", events(1, 3, 4, slow=(6,)))
def test_a_probe_that_was_stopped_decides_and_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken_probe: Any, event: int
) -> None:
    stopped(tmp_path, monkeypatch, unbroken_probe, event, PROBE)


@pytest.mark.filterwarnings("ignore:effort holdout:concord.errors.ConcordWarning")
@pytest.mark.parametrize("event", events(9, 11, 12, slow=(2, 15)))
def test_a_holdout_that_was_stopped_goes_on_with_what_it_had_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken_holdout: Any, event: int
) -> None:
    stopped(tmp_path, monkeypatch, unbroken_holdout, event, HELD)


def stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Any, event: int, stages: dict[str, Any]
) -> None:
    """Stop at the n-th checkpoint, look at the folder, go on, and compare."""
    config = automatic(tmp_path, stages=stages, **BRIEF)
    saved, count = Checkpoints.save, []

    def stopping(self: Checkpoints, *arguments: Any) -> Any:
        count.append(self.folder.name)
        if len(count) == event:
            raise KeyboardInterrupt
        return saved(self, *arguments)

    monkeypatch.setattr(Checkpoints, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert not finished(config)
    if event > 1:
        with pytest.raises(ConfigError, match=r"another config: training\.steps was 4, here it is 5"):
            train(automatic(tmp_path, stages=stages, **BRIEF, training__steps=5))
    run = train(config)
    assert same(run, unbroken)
    assert run.facts == unbroken.facts
    assert finished(config)
    assert not list((tmp_path / "out" / "auto").glob("network-*/"))
    monkeypatch.setattr(StreamLearner, "train", lambda *_, **__: pytest.fail("trained again"))
    assert same(train(config), unbroken)


def test_thresholds_take_predictions_that_a_probe_does_not_make(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"validation\.thresholds: with stages\.effort: probe"):
        train(automatic(tmp_path, stages=PROBE, validation__thresholds="f1"))


def test_without_relations_pairs_are_looked_for(tmp_path: Path, outcomes: list[Any]) -> None:
    run = train(automatic(tmp_path, relations=[]))
    assert [check.relation.name for check in outcomes[0][2].checks] == ["shape->marks"]
    assert run.facts["auto"]["verdicts"].keys() == {"shape->marks"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"couplings": [{"name": "posterior"}]}, "auto chooses couplings itself; leave posterior out"),
        ({"tasks__shape__weight": 2.0}, r"auto weighs tasks by their rows; leave tasks\.shape\.weight out"),
        ({"mixing": {"share": "size"}}, "auto draws as many rows of each task"),
        ({"validation__select": "metric"}, "auto keeps final weights"),
        (
            {"stages": AUTO | {"folds": 3}},
            "kind auto have no folds; it is kind: two-stage that has",
        ),
        ({"stages": {"effort": "fast"}}, "stages of kind single have no effort; it is kind: auto that has"),
    ],
)
def test_what_auto_decides_itself_is_not_said_besides(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        automatic(tmp_path, **changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("watching.tensorboard", True),
        ("watching.mlflow", "http://there"),
        ("watching.wandb", "faces"),
        ("watching.loggers", [{"use": "no_such_module:Nothing"}]),
        ("tasks.shape.metric", "accuracy"),
    ],
)
def test_what_auto_would_pass_over_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    config = automatic(tmp_path, **{key.replace(".", "__"): value})
    with pytest.raises(ConfigError, match=rf"stages: auto .*; leave {key} out"):
        train(config)
    written = write(config.model_dump(mode="json"), tmp_path / "auto.yaml")
    said = CliRunner().invoke(app, ["train", str(written)])
    assert "is run" not in said.output  # no code of a logger


def test_what_cannot_be_decided_is_told_in_a_line(tmp_path: Path) -> None:
    alone = {"sources__labelled__tasks": ["marks"], "tasks": {"marks": {}}, "relations": []}
    values = automatic(tmp_path).model_dump(mode="json")
    del values["sources"]["classed"]
    with pytest.raises(ConfigError, match="auto couples tasks, and there is one"):
        train(config_of(values, **alone))
    few = automatic(tmp_path, n=12, stages={"kind": "auto", "effort": "thorough"}, output=f"{tmp_path}/few")
    with pytest.raises(
        RangeError, match=r"^stages: task 'shape' has 4 annotated rows, fewer than the 8 fold"
    ):
        train(config_of(few.model_dump(mode="json"), sources__classed__train_where="row < 6"))


def test_probabilities_are_at_the_temperatures_of_the_folds(tmp_path: Path, outcomes: list[Any]) -> None:
    run = train(automatic(tmp_path))
    outcome = outcomes[0][2]
    for task in run.tasks:
        forms = [form.partition("/")[0] for form in outcome.choices[task.name].weights]
        factors = {form: outcome.families[form].scale[task.name] for form in forms}
        expected = factors if len(factors) > 1 else factors[forms[0]]
        assert run.facts["scales"][task.name] == expected


PROGRAM = """
import sys
from concord.config import read_config
from concord.runs import train

train(read_config(sys.argv[1], [f"output={sys.argv[2]}"], {}))
"""


@pytest.mark.slow
def test_two_processes_decide_as_one(tmp_path: Path) -> None:
    """Without dropout the processes of a training differ from a single one in rounding alone."""
    values = world(tmp_path) | {"couplings": [], "stages": AUTO, "tasks": {"shape": {}, "marks": {}}}
    values["trunk"] = {"options": {"hidden": [16], "dropout": 0.0}}
    config = write(values, tmp_path / "auto.yaml")
    (tmp_path / "go.py").write_text(PROGRAM)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(tmp_path / "go.py"), str(config), str(tmp_path / "two"),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)
    two, one = load_run(tmp_path / "two"), train(config_of(values, output=str(tmp_path / "one")))
    for task, choice in one.facts["auto"]["choices"].items():
        assert two.facts["auto"]["choices"][task]["weights"] == choice["weights"]
    for name, weights in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[name], weights, atol=1e-4, rtol=1e-3)
