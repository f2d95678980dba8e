"""Trainings that do not depend on each other, in one process or several: with the same bits."""

from __future__ import annotations

import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from concord.errors import ProcessError
from concord.learners.protocol import Kind, Learner, Trained, Training, train_and_predict
from concord.networks import one_thread

if TYPE_CHECKING:
    from warnings import WarningMessage


def processes(n_jobs: int) -> int:
    """How many processes a number of jobs stands for on this machine; -1 is one per core."""
    from joblib import effective_n_jobs

    return int(effective_n_jobs(n_jobs))


def train_side_by_side(
    learner: Learner,
    trainings: Iterable[Training],
    n_jobs: int,
    done: Callable[[Kind, float], None] = lambda kind, share: None,
) -> list[Trained]:
    """Train on one thread each, at most `n_jobs` at a time; the bits do not depend on how many.

    Errors and warnings of other processes are raised and shown in this one; interrupted, it ends them.

    Args:
        learner: Trains and applies models; a copy goes to every other process.
        trainings: What to train; few more are drawn than are being trained.
        n_jobs: Processes; 1 stays in this one, -1 is one per core.
        done: Told kind and share of steps of every training that another process has finished, in their
            order.

    Raises:
        ProcessError: A learner that cannot be handed to another process, or a process that was ended.
    """
    size = processes(n_jobs)
    if size == 1:
        with one_thread():
            return [train_and_predict(learner, each) for each in trainings]
    out: list[Trained] = []
    with _explained():
        for trained, told, kind, share in _in_processes(learner, trainings, size):
            for each in told:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
            done(kind, share)
            out.append(trained)
    return out


def _in_processes(
    learner: Learner, trainings: Iterable[Training], size: int
) -> Iterator[tuple[Trained, list[WarningMessage], Kind, float]]:
    from joblib import Parallel, delayed

    # Rows that wait for a process fill memory, so that few are drawn ahead.
    pool = Parallel(n_jobs=size, backend="loky", pre_dispatch="1.5 * n_jobs", return_as="generator")
    yield from pool(delayed(_in_process)(learner, each) for each in trainings)


def _in_process(learner: Learner, one: Training) -> tuple[Trained, list[Any], Kind, float]:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent speaks, and ends the others
    with warnings.catch_warnings(record=True) as told, one_thread():
        warnings.simplefilter("always")  # which of them are shown, the parent's filters say
        trained = train_and_predict(learner, one)
    return trained, [_plain(each) for each in told], one.kind, one.share


def _plain(told: WarningMessage) -> WarningMessage:
    """A warning without the object that it came from, which may not go to another process."""
    told.source = None
    return told


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise ProcessError(
            "a process that trained was ended from outside, as where memory runs out; use fewer (n_jobs)"
        ) from error
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error):
            raise
        raise ProcessError(
            f"the trunk or estimator cannot be handed to another process ({error}); define its class in a "
            "module, or train in this process (n_jobs=1)"
        ) from error
