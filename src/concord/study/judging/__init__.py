"""Judging a study: results, statistics, comparisons, and their words."""

from concord.study.judging.comparison import compare
from concord.study.judging.statistics import holm, mean_ranks, paired
from concord.study.judging.wording import METRIC_WORDS, VERDICT_WORDS

__all__ = ["METRIC_WORDS", "VERDICT_WORDS", "compare", "holm", "mean_ranks", "paired"]
