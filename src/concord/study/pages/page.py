"""A page that is complete in itself: style, script and data inside, everything else forbidden."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from concord.files import write_text
from concord.study.judging import METRIC_WORDS
from concord.study.pages.listing import VERDICT_WORDS
from concord.study.pages.outcome import Outcome, finite
from concord.study.pages.plots import COLOURS, glyph, points, sample
from concord.study.pages.svg import shown
from concord.study.pages.views import against

ON_PAPER = 24
"""Rows of a table on paper, where nothing sorts and filters; the style sheet hides those behind them."""

if TYPE_CHECKING:
    from jinja2 import Environment


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Render a template and write it; the page runs its one script, known by its hash, and loads nothing.

    Args:
        path: Of the page.
        template: Name of the template.
        **values: What the template shows; text is escaped.

    Raises:
        OutputError: It cannot be written.
    """
    environment = _environment()
    css, script = (_source(environment, name) for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template).render(css=css, script=script, digest=digest, **values)
    write_text(path, page)
    return path


def traced(outcomes: Sequence[Outcome], names: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of `results.csv`, as the page keeps them to show what a number is made of.

    Args:
        outcomes: Studies.
        names: Their names, where there are several.

    Returns:
        `columns` and `rows`; by task the metric it is `judged` by; the metrics of which `lower` is better.
    """
    from concord.metrics import lower_is_better

    columns = ["study"] if names else []
    columns += ["line", *dict.fromkeys(key for o in outcomes for key in o.results[0] if key != "line")]
    rows = [
        [name if key == "study" else finite(row.get(key)) for key in columns]
        for name, outcome in zip(names or [""] * len(outcomes), outcomes, strict=True)
        for row in outcome.results
    ]
    metrics = {row["metric"] for outcome in outcomes for row in outcome.results}
    return {
        "columns": columns,
        "rows": rows,
        "judged": {task: outcome.metric(task) for outcome in outcomes for task in outcome.tasks},
        "lower": sorted(filter(lower_is_better, metrics)),
    }


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("concord.study.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    filters: dict[str, Callable[..., Any]] = {
        "points": points,
        "metric_words": lambda name: METRIC_WORDS.get(name, name),
        "against": against,
        "shown": shown,
        "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    }
    environment.filters |= filters
    environment.globals |= {
        "VERDICT_WORDS": VERDICT_WORDS,
        "COLOURS": COLOURS,
        "glyph": glyph,
        "sample": sample,
        "ON_PAPER": ON_PAPER,
    }
    return environment


def _source(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])  # noqa: S704, our own file
