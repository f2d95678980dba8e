"""One file says everything about a training: YAML or TOML, checked before anything heavy is imported."""

from concord.config.difference import differences, shown
from concord.config.length import MOST_STEPS, PASSES, TrainingLength, training_length
from concord.config.load import ENVIRONMENT, as_config, origin_of, overridden, read_config
from concord.config.schema import (
    FIELDS_OF_KIND,
    Augmentation,
    CheckpointPlan,
    Config,
    CouplingPlan,
    InputPlan,
    Mixing,
    RelationPlan,
    SourcePlan,
    SplitPlan,
    TaskPlan,
    Training,
    TrunkPlan,
    ValidationPlan,
    Watching,
)
from concord.config.templates import START, example, template
from concord.config.yaml_text import parsed_yaml

__all__ = [
    "ENVIRONMENT",
    "FIELDS_OF_KIND",
    "MOST_STEPS",
    "PASSES",
    "START",
    "Augmentation",
    "CheckpointPlan",
    "Config",
    "CouplingPlan",
    "InputPlan",
    "Mixing",
    "RelationPlan",
    "SourcePlan",
    "SplitPlan",
    "TaskPlan",
    "Training",
    "TrainingLength",
    "TrunkPlan",
    "ValidationPlan",
    "Watching",
    "as_config",
    "differences",
    "example",
    "origin_of",
    "overridden",
    "parsed_yaml",
    "read_config",
    "shown",
    "template",
    "training_length",
]
