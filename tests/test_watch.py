from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from asserts import raises
from concord.errors import CheckpointError, MissingExtraError
from concord.fitting.loop import fit
from concord.fitting.watch import JsonLines, MLflow, Progress, TensorBoard
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
    ],
)
def test_an_adapter_says_what_it_needs(module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, module, None)
    with raises(MissingExtraError, f"pip install {extra}"):
        make()


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
