"""One file says everything about a training: YAML or TOML, checked before anything heavy is imported."""

from concord.config.load import ENVIRONMENT, as_config, differences, read_config
from concord.config.schema import (
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
from concord.config.template import example, template

__all__ = [
    "ENVIRONMENT",
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
    "TrunkPlan",
    "ValidationPlan",
    "Watching",
    "as_config",
    "differences",
    "example",
    "read_config",
    "template",
]
