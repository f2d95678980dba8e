"""Servers and services that keep the records of trainings: MLflow, Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from concord.errors import MissingExtraError, OutputError
from concord.fitting.watch import plain_name

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Schemes of tracking URIs that MLflow opens through SQLAlchemy."""


@contextmanager
def _telling(owner: str, mend: str) -> Iterator[None]:
    """What a client raises, which may be anything, as one line; a mistake in our own call is none of its."""
    try:
        yield
    except (AssertionError, AttributeError, NameError, TypeError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        raise OutputError(f"{owner} takes no records: {reason}; {mend}") from error


class MLflow:
    """Metrics for an MLflow server or database; a resumed training goes on in the same run.

    Args:
        uri: The tracking URI: of a server (`http://...`), or of a database (`sqlite:///runs.db`).
        experiment: Name of the experiment.
        run_name: Name of the run.

    Raises:
        MissingExtraError: mlflow, or what it needs for a database, is not installed.
        OutputError: MLflow refuses the address.
    """

    def __init__(self, uri: str, experiment: str = "concord", run_name: str | None = None) -> None:
        lacking = MissingExtraError("logging to MLflow needs mlflow: pip install concord-mtl[mlflow]")
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise lacking from None
        scheme = uri.partition(":")[0].partition("+")[0]
        if scheme in DATABASES and None in (find_spec("sqlalchemy"), find_spec("alembic")):
            raise lacking
        self.uri = uri
        with self._telling():
            self._client = MlflowClient(tracking_uri=uri)
        self.experiment, self.run_name = experiment, run_name
        self._run: str | None = None

    def _telling(self) -> AbstractContextManager[None]:
        mend = "give the address of a server that runs, or sqlite:///FILE.db: newer versions take no folder"
        return _telling(f"MLflow at {self.uri}", mend)

    def _begin(self) -> str:
        if self._run is None:
            known = self._client.get_experiment_by_name(self.experiment)
            number = known.experiment_id if known else self._client.create_experiment(self.experiment)
            self._run = str(self._client.create_run(number, run_name=self.run_name).info.run_id)
        return self._run

    def log(self, record: Mapping[str, float]) -> None:
        """Send the metrics of one record.

        Raises:
            OutputError: MLflow does not take them.
        """
        with self._telling():
            run = self._begin()
            for name, value in record.items():
                if name != "step":
                    self._client.log_metric(run, plain_name(name), value, step=int(record["step"]))

    def state_dict(self) -> dict[str, Any]:
        """The run that a resumed training goes on in."""
        return {"run": self._run}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Go on in the same run; MLflow keeps what it was sent, a step that comes again replaces none."""
        del step
        self._run = state.get("run")

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            with self._telling():
                self._client.set_terminated(self._run)


class WandB:
    """Metrics for Weights & Biases; a resumed training goes on in the same run.

    Args:
        project: Name of the project.
        folder: Where the client keeps its files, in `wandb/`.
        run_name: Name of the run.

    Raises:
        MissingExtraError: wandb is not installed.
    """

    def __init__(self, project: str, folder: str | Path, run_name: str | None = None) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError(
                "logging to Weights & Biases needs wandb: pip install concord-mtl[wandb]"
            ) from None
        self._wandb = wandb
        self.project, self.folder, self.run_name = project, Path(folder), run_name
        self._id: str | None = None
        self._run: Any = None

    def _telling(self) -> AbstractContextManager[None]:
        return _telling("Weights & Biases", "run `wandb login`, or set WANDB_MODE=offline")

    def _begin(self) -> Any:
        if self._run is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._run = self._wandb.init(
                project=self.project, name=self.run_name, dir=str(self.folder), id=self._id, resume="allow"
            )
            self._id = str(self._run.id)
            # Of its own steps W&B takes none twice, and a resumed training repeats some.
            self._run.define_metric("*", step_metric="step")
        return self._run

    def log(self, record: Mapping[str, float]) -> None:
        """Send one record; its step is a metric, against which the others are drawn.

        Raises:
            OutputError: W&B does not take it.
        """
        with self._telling():
            values = {plain_name(name): value for name, value in record.items()}
            self._begin().log(values | {"step": int(record["step"])})

    def state_dict(self) -> dict[str, Any]:
        """The run that a resumed training goes on in."""
        return {"wandb": self._id}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Go on in the same run; W&B keeps what it was sent, a step that comes again is drawn twice."""
        del step
        self._id = state.get("wandb")

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            with self._telling():
                self._run.finish()
