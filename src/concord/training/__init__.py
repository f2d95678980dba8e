"""Everything that a config asks for, built and put together: train, evaluate, predict, load."""

from concord.training.build import Built, build
from concord.training.decoders import Decoders
from concord.training.evaluate import evaluate
from concord.training.predict import predict
from concord.training.run import Run, load_run
from concord.training.train import train

__all__ = ["Built", "Decoders", "Run", "build", "evaluate", "load_run", "predict", "train"]
