from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from asserts import raises
from concord.errors import CheckpointError, ConfigError, MissingExtraError, OutputError, UnknownNameError
from concord.fitting import own_logger
from concord.fitting.loop import fit
from concord.fitting.trackers import MLflow, WandB
from concord.fitting.watch import JsonLines, Progress, TensorBoard
from training_problem import network, objective, rows

TRAINED = {"step": 5.0, "loss": 1.25, "distribution-matching:shape->marks": 0.5, "lr": 0.1, "rate": 1234.0}
JUDGED = {"step": 5.0, "val/shape/accuracy": 0.75}


# -- JSON lines ------------------------------------------------------------------------------------


def test_lines_after_the_checkpoint_are_cut(tmp_path: Path):
    log = JsonLines(tmp_path / "log.jsonl")
    log.resume(0, {})
    for step in (1, 2, 3):
        log.log({"step": step, "loss": float("nan") if step == 2 else 0.5})
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')  # a process killed in the middle of a line
    log.resume(2, log.state_dict())
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]
    log.close()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with raises(CheckpointError, "cannot write"):
        JsonLines(tmp_path / "file" / "log.jsonl").log(TRAINED)


# -- TensorBoard -----------------------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_shows_what_was_trained(tmp_path: Path):
    pytest.importorskip("tensorboard")
    history = fit(
        network(), objective(), rows(), steps=6, log_every=2, loggers=[TensorBoard(tmp_path / "board")]
    )
    seen = scalars(tmp_path / "board")
    assert {"loss", "shape", "marks", "distribution-matching/shape_to_marks", "lr", "rate"} <= set(seen)
    assert [step for step, _ in seen["loss"]] == [2, 4, 6]
    assert [value for _, value in seen["loss"]] == pytest.approx([r["loss"] for r in history.records])


def test_tensorboard_hides_what_a_resumed_run_does_again(tmp_path: Path):
    pytest.importorskip("tensorboard")
    first = TensorBoard(tmp_path)
    for step in (1, 2, 3, 4):
        first.log({"step": step, "loss": float(step)})
    first.close()
    second = TensorBoard(tmp_path)
    second.resume(2, first.state_dict())
    second.log({"step": 3, "loss": 30.0})
    second.close()
    assert scalars(tmp_path)["loss"] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_nothing_is_written_before_the_first_record(tmp_path: Path):
    pytest.importorskip("tensorboard")
    TensorBoard(tmp_path / "board").close()
    assert not (tmp_path / "board").exists()


# -- MLflow ----------------------------------------------------------------------------------------


class FakeServer:
    """What the adapter asks of an MLflow server."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.ended: list[str] = []

    def client(self, tracking_uri: str) -> FakeServer:
        assert tracking_uri == "somewhere"
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        found = self.experiments.get(name)
        return None if found is None else SimpleNamespace(experiment_id=found)

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, f"e{len(self.experiments)}")

    def create_run(self, experiment: str, run_name: str | None) -> Any:
        number = f"r{len(self.runs)}"
        self.runs[number] = {"experiment": experiment, "name": run_name, "metrics": []}
        return SimpleNamespace(info=SimpleNamespace(run_id=number))

    def log_metric(self, run: str, key: str, value: float, step: int) -> None:
        self.runs[run]["metrics"].append((key, value, step))

    def set_terminated(self, run: str) -> None:
        self.ended.append(run)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    made = FakeServer()
    package, tracking = ModuleType("mlflow"), ModuleType("mlflow.tracking")
    tracking.MlflowClient = made.client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    return made


def test_mlflow_takes_metrics_and_goes_on_in_the_same_run(server: FakeServer):
    first = MLflow("somewhere", experiment="faces", run_name="one")
    first.log(TRAINED)
    first.close()
    second = MLflow("somewhere", experiment="faces")
    second.resume(5, json.loads(json.dumps(first.state_dict())))
    second.log(JUDGED)
    second.close()
    assert list(server.runs) == ["r0"]
    assert server.runs["r0"]["name"] == "one"
    assert server.runs["r0"]["metrics"] == [
        ("loss", 1.25, 5),
        ("distribution-matching/shape_to_marks", 0.5, 5),
        ("lr", 0.1, 5),
        ("rate", 1234.0, 5),
        ("val/shape/accuracy", 0.75, 5),
    ]
    assert server.ended == ["r0", "r0"]


def test_mlflow_runs_of_one_experiment_share_it(server: FakeServer):
    for _ in range(2):
        MLflow("somewhere", experiment="faces").log(TRAINED)
    assert server.experiments == {"faces": "e0"}
    assert [run["experiment"] for run in server.runs.values()] == ["e0", "e0"]
    MLflow("somewhere").close()  # a training that logged nothing leaves no run
    assert server.ended == []


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("tensorboard.compat.proto.event_pb2", lambda: TensorBoard("x"), "concord-mtl[tensorboard]"),
        ("mlflow.tracking", lambda: MLflow("x"), "concord-mtl[mlflow]"),
        ("wandb", lambda: WandB("x", "y"), "concord-mtl[wandb]"),
    ],
)
def test_an_adapter_says_what_it_needs(module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, module, None)
    with raises(MissingExtraError, f"pip install {extra}"):
        make()


def test_mlflow_needs_more_for_a_database(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("concord.fitting.trackers.find_spec", lambda name: None)
    with raises(MissingExtraError, "pip install concord-mtl[mlflow]"):
        MLflow("sqlite:///runs.db")


@pytest.mark.parametrize("method", ["client", "create_run", "log_metric", "set_terminated"])
def test_what_mlflow_raises_is_one_line(method: str, server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    class RefusedError(Exception):
        pass

    def refuse(*args: Any, **named: Any) -> Any:
        raise RefusedError("no folders\nany more. See a page")

    monkeypatch.setattr(server, method, refuse)
    if method == "client":
        monkeypatch.setattr(sys.modules["mlflow.tracking"], "MlflowClient", refuse)
    with raises(
        OutputError, "MLflow at somewhere takes no records: no folders any more;", "sqlite:///FILE.db"
    ):
        logger = MLflow("somewhere")
        logger.log(TRAINED)
        logger.close()


@pytest.mark.filterwarnings("ignore")  # of SQLAlchemy, as MLflow uses it
def test_mlflow_itself_keeps_runs_in_sqlite_and_refuses_nothing_with_a_traceback(tmp_path: Path):
    tracking = pytest.importorskip("mlflow.tracking")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    logger = MLflow(uri, run_name="one")
    logger.log(TRAINED)
    logger.close()
    client = tracking.MlflowClient(tracking_uri=uri)
    [run] = client.search_runs([client.get_experiment_by_name("concord").experiment_id])
    assert run.data.metrics["distribution-matching/shape_to_marks"] == 0.5
    assert run.info.status == "FINISHED"


# -- Weights & Biases ------------------------------------------------------------------------------


class FakeRuns:
    """What the adapter asks of the client of W&B."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.records: list[dict[str, float]] = []
        self.finished = 0

    def init(self, **settings: Any) -> Any:
        self.begun.append(settings)
        return SimpleNamespace(
            id=settings["id"] or "abc",
            define_metric=lambda name, step_metric: None,
            log=self.records.append,
            finish=self.finish,
        )

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def biases(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    made, package = FakeRuns(), ModuleType("wandb")
    package.init = made.init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", package)
    return made


def test_wandb_takes_records_and_goes_on_in_the_same_run(biases: FakeRuns, tmp_path: Path):
    first = WandB("faces", tmp_path / "out", run_name="one")
    first.log(TRAINED)
    first.close()
    second = WandB("faces", tmp_path / "out")
    second.resume(5, json.loads(json.dumps(first.state_dict())))
    second.log(JUDGED)
    second.close()
    assert [run["id"] for run in biases.begun] == [None, "abc"]
    assert biases.begun[0] == {
        "project": "faces", "name": "one", "dir": str(tmp_path / "out"), "id": None, "resume": "allow"
    }  # fmt: skip
    assert biases.records[0]["distribution-matching/shape_to_marks"] == 0.5
    assert biases.records[1] == {"step": 5, "val/shape/accuracy": 0.75}
    assert biases.finished == 2


def test_wandb_begins_no_run_without_records_and_takes_none_of_others(biases: FakeRuns, tmp_path: Path):
    logger = WandB("faces", tmp_path)
    logger.resume(3, {"run": "of mlflow"})
    logger.close()
    assert (biases.begun, biases.finished) == ([], 0)
    logger.log(JUDGED)
    assert biases.begun[0]["id"] is None


def test_what_wandb_raises_is_one_line(biases: FakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(**settings: Any) -> Any:
        raise ValueError("No API key configured. Use a key")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with raises(OutputError, "Biases takes no records: No API key configured;", "WANDB_MODE=offline"):
        WandB("faces", tmp_path).log(TRAINED)


def test_wandb_itself_writes_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandB("faces", tmp_path / "out")
    logger.log(TRAINED)
    logger.close()
    assert list((tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb"))


# -- loggers of one's own --------------------------------------------------------------------------

OWN = """
class Kept:
    def __init__(self, path):
        self.path = path
    def log(self, record):
        with open(self.path, "a") as file:
            file.write(f"{record['step']:.0f}\\n")
    def state_dict(self):
        return {}
    def resume(self, step, state):
        pass
    def close(self):
        pass

class Half:
    def log(self, record):
        pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_loggers.py").write_text(OWN)
    (tmp_path / "my_broken_loggers.py").write_text("import nowhere_to_be_found")
    for name in ("my_own_loggers", "my_broken_loggers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "my_own_loggers"


def test_a_class_of_the_working_folder_logs_a_training(module: str, tmp_path: Path):
    logger = own_logger(f"{module}:Kept", {"path": str(tmp_path / "steps.txt")})
    fit(network(), objective(), rows(), steps=6, log_every=2, loggers=[logger])
    assert (tmp_path / "steps.txt").read_text().split() == ["2", "4", "6"]
    assert str(tmp_path) not in sys.path


def test_mistakes_in_a_logger_of_ones_own_are_named(module: str):
    with raises(ConfigError, "no module 'my_other_loggers' in the working folder"):
        own_logger("my_other_loggers:Kept", {})
    with raises(UnknownNameError, "did you mean 'Kept'"):
        own_logger(f"{module}:Kep", {})
    with raises(ConfigError, "does not take these options"):
        own_logger(f"{module}:Kept", {"file": "x"})
    with raises(ConfigError, "lacks state_dict, resume, close; a logger has log, state_dict, resume, close"):
        own_logger(f"{module}:Half", {})
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        own_logger("my_broken_loggers:Kept", {})


# -- progress --------------------------------------------------------------------------------------


def test_progress_shows_loss_parts_rate_and_metrics():
    from rich.console import Console

    text = io.StringIO()
    bar = Progress(20, Console(file=text, force_terminal=True, width=140, color_system=None))
    bar.resume(2, bar.state_dict())
    bar.log({key: value for key, value in TRAINED.items() if key != "rate"})
    bar.log(JUDGED)
    bar.log(TRAINED | {"step": 20.0})
    bar.close()
    shown = text.getvalue()
    for part in (
        "loss 1.250",
        "distribution-matching:shape->marks 0.500",
        "1,234 rows/s",
        "step 5: shape/accuracy 0.750",
    ):
        assert part in shown
    assert "lr 0.1" not in shown
    assert "20/20" in shown
    assert bar._bar.finished


def test_where_no_bar_can_be_drawn_every_tenth_is_a_line():
    from rich.console import Console

    text = io.StringIO()
    bar = Progress(1000, Console(file=text, width=60))
    bar.resume(150, bar.state_dict())
    for step in range(160, 1001, 10):
        bar.log({"step": step, "loss": 0.5, "rate": 1e6})
    bar.close()
    steps = ["step 200", "step 300", "step 400", "step 500", "step 600", "step 700", "step 800", "step 900"]
    assert [line.partition(" of ")[0] for line in text.getvalue().splitlines()] == [*steps, "step 1,000"]
    assert "step 200 of 1,000: loss 0.500  1,000,000 rows/s\n" in text.getvalue()
