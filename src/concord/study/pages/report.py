"""The report of a study: one HTML file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from concord.errors import ConcordError, DataFormatError, DuplicateNameError, EmptyDataError
from concord.study.pages.outcome import Outcome
from concord.study.pages.page import traced, write_page
from concord.study.pages.views import (
    accounts,
    board,
    colours,
    confusions,
    efficiency,
    embedded,
    facts,
    gallery,
    learning,
    levels_of,
    listings,
    listings_across,
    margin_of,
    pictures,
    pictures_across,
    ranks,
    relation,
    sentences,
    setup,
    tallies,
    tiles,
    told,
)


def write_report(out: Path) -> Path:
    """Write `report.html` of a finished study.

    Args:
        out: The study's folder.

    Returns:
        Path of the report.

    Raises:
        MissingDataError: A file of a finished study is not there.
        DataFormatError: A file that is not in its format.
        StudyError: Verdicts that do not follow from `results.csv`.
    """
    with _of_a_study([out]):
        outcome = Outcome.read(Path(out))
        values = _parts(outcome)
        return write_page(Path(out) / "report.html", "report.html", **values)


def _parts(outcome: Outcome) -> dict[str, Any]:
    """What the page of a study shows."""
    return {
        "title": outcome.title,
        "outcome": outcome,
        "facts": facts(outcome),
        "sentences": sentences(outcome),
        "tiles": tiles(outcome),
        "boards": [board(outcome, baseline) for baseline in outcome.baselines],
        "pictures": pictures(outcome),
        "ranks": ranks(outcome),
        "keys": [{"name": name, "colour": colour} for name, colour in colours(outcome).items()],
        "curve_groups": learning(outcome),
        "efficiency": efficiency(outcome),
        "relations": [relation(record) for record in outcome.relations],
        "accounts": accounts(outcome),
        "confusions": confusions(outcome),
        "gallery": gallery(outcome),
        "embedded": embedded(outcome),
        "listings": listings(outcome),
        "setup": setup(outcome),
        "told": told(outcome),
        "rows": traced([outcome]),
    }


def write_comparison(outs: Sequence[Path], target: Path) -> Path:
    """Write one page that sets several finished studies side by side.

    Args:
        outs: Folders of studies; each is named by its folder, or by its path where two folders share a name.
        target: The page.

    Returns:
        Path of the page.

    Raises:
        DuplicateNameError: A study that is named twice, by whatever path: its verdicts would count twice.
        EmptyDataError: No study.
        MissingDataError: A folder without a finished study.
        DataFormatError: A file that is not in its format.
        StudyError: Verdicts that do not follow from `results.csv`.
    """
    if not outs:
        raise EmptyDataError("name at least one folder of a study to compare, found none")
    places = [Path(out).resolve() for out in outs]
    for out, place in zip(outs, places, strict=True):
        if places.count(place) > 1:
            raise DuplicateNameError(f"the study {out} is named twice; name each once")
    with _of_a_study(outs):
        studies = dict(zip(_names(outs), (Outcome.read(Path(out)) for out in outs), strict=True))
        return write_page(Path(target), "comparison.html", **_parts_across(studies))


def _parts_across(studies: Mapping[str, Outcome]) -> dict[str, Any]:
    """What the page of several studies shows."""
    return {
        "title": f"{len(studies)} studies" if len(studies) > 1 else next(iter(studies.values())).title,
        "studies": [
            {"name": name, "outcome": outcome, "facts": facts(outcome), "sentences": sentences(outcome)}
            for name, outcome in studies.items()
        ],
        "margin": margin_of(studies),
        "levels": levels_of(studies),
        "tallies": tallies(studies),
        "pictures": pictures_across(studies),
        "listings": listings_across(studies),
        "rows": traced(list(studies.values()), list(studies)),
    }


NOT_AS_WRITTEN = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What drawing raises where a value has another kind, size or shape; a broken template is no file's fault."""


@contextmanager
def _of_a_study(outs: Sequence[Path]) -> Iterator[None]:
    """A file that a study did not write has, in some place, another shape than what is drawn of it."""
    try:
        yield
    except ConcordError:
        raise
    except NOT_AS_WRITTEN as error:
        where = ", ".join(map(str, outs))
        raise DataFormatError(
            f"{where}: a file of the study is not as `concord study` writes it ({error!r:.200}); judge again "
            "with `concord study`"
        ) from error


def _names(outs: Sequence[Path]) -> list[str]:
    short = [Path(out).resolve().name for out in outs]
    return short if len(set(short)) == len(short) else [str(out) for out in outs]
