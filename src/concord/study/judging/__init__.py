"""Judging a study: results, statistics, comparisons, and their words."""

from concord.study.judging.comparison import compare
from concord.study.judging.packs import (
    Belief,
    block_ranks,
    correlated_t,
    pack_means,
    resampled_means,
    signed_rank,
)
from concord.study.judging.statistics import MIN_SEEDS, holm, mean_ranks, paired
from concord.study.judging.wording import METRIC_WORDS, VERDICT_WORDS

__all__ = [
    "METRIC_WORDS",
    "MIN_SEEDS",
    "VERDICT_WORDS",
    "Belief",
    "block_ranks",
    "compare",
    "correlated_t",
    "holm",
    "mean_ranks",
    "pack_means",
    "paired",
    "resampled_means",
    "signed_rank",
]
