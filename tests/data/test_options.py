"""Options of readers as a person types them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import pytest

from concord.config import parsed_yaml
from concord.data.options import reader_options
from concord.data.registry import read, reader, reader_names
from concord.errors import ConcordError, ConfigError


def made(
    root: Path,
    *,
    units: Sequence[int] | None = None,
    shares: Sequence[float] = (0.8, 0.2),
    tasks: Sequence[str] | str | None = None,
    gaps: Iterable[str] = (),
    fold: Literal[0, 1, 2] | None = None,
    release: Literal["2017", "2021"] | None = None,
    splits: bool | Literal["auto"] = "auto",
    images: str = "images",
    cache: str | Path | None = None,
    offset: int = 0,
    band: float = 0.0,
    boxes: bool = False,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Every form of option that readers have."""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("units=12", [12]),
        ("units=1,2,12", [1, 2, 12]),
        ("units=[1, 2, 12]", [1, 2, 12]),
        ("units=1 2 12", [1, 2, 12]),
        ("units=AU12", [12]),
        ("units=AU01,au2", [1, 2]),
        ("units=null", None),
        ("shares=0.8,0.1,0.1", [0.8, 0.1, 0.1]),
        ("tasks=expression", "expression"),
        ("tasks=expression,action_units", ["expression", "action_units"]),
        ("gaps=-1", ["-1"]),
        ("gaps=not known,9", ["not known", "9"]),
        ("fold=1", 1),
        ("fold='1'", 1),
        ("fold=null", None),
        ("release=2021", "2021"),
        ("splits=false", False),
        ("splits=auto", "auto"),
        ("images=2017", "2017"),
        ("offset=-1", -1),
        ("offset='-1'", -1),
        ("band=1", 1.0),
        ("boxes=yes", True),
        ("boxes='no'", False),
        ("labels={a: b}", {"a": "b"}),
    ],
)
def test_what_a_person_types_is_what_is_meant(typed: str, meant: Any) -> None:
    name, _, text = typed.partition("=")
    (taken,) = reader_options(made, "made", {name: parsed_yaml(text)}).values()
    assert taken == meant
    assert type(taken) is type(meant)


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ({"units": "AUx"}, "one or several whole numbers with commas between, as units=1,2,12; found 'AUx'"),
        ({"units": {"a": 1}}, "units=1,2,12"),
        ({"units": True}, "units=1,2,12"),
        ({"units": [1, 2.5]}, "units=1,2,12"),
        ({"shares": "most"}, "numbers with commas between, as shares=0.8,0.1,0.1"),
        ({"fold": True}, "one of 0, 1, 2, as fold=0; found True"),
        ({"fold": [1]}, "one of 0, 1, 2"),
        ({"offset": "one"}, "a whole number, as offset=1"),
        ({"band": "wide"}, "a number, as band=0.5"),
        ({"boxes": 2}, "true or false, as boxes=true"),
        ({"images": None}, "text, as images=images"),
        ({"images": ["a"]}, "text, as images=images"),
        ({"labels": "a"}, "a mapping"),
        ({"unit": 1}, "unknown option 'unit'; did you mean 'units'"),
    ],
)
def test_a_wrong_value_is_named_with_the_right_form(options: dict[str, Any], right: str) -> None:
    with pytest.raises(ConfigError) as info:
        reader_options(made, "made", options)
    assert right in str(info.value)
    assert str(info.value).startswith("made: ")


WRONG = [12, -3, 2.5, "x", "1,2,12", True, None, [], ["x"], [1], {}, {"a": [1]}]


@pytest.mark.parametrize("name", reader_names())
def test_no_value_of_any_option_is_a_raw_error(name: str, tmp_path: Path) -> None:
    root = tmp_path / "mushroom"
    root.mkdir()
    for option in list(signature(reader(name).read).parameters)[1:]:
        for value in WRONG:
            with pytest.raises(ConcordError):  # an empty folder, at best
                read(name, root, **{option: value})
