"""Options of readers as a person types them: `units=12`, `units=1,2,12`, `units=AU12`, `fold=1`.

What a reader takes stands in the annotations of its `read`; a value is brought to that form, and one that
cannot be is named with the form that would do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from concord.errors import ConfigError, UnknownNameError

_NO = object()
"""What a form gives for a value that it cannot take."""

_UNIT = re.compile(r"(?:AU)?0*([0-9]{1,4})", re.IGNORECASE)


def reader_options(read: Callable[..., Any], title: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in the types that a reader's `read` declares.

    Args:
        read: The function; its first parameter is the root.
        title: The data set, for messages.
        options: Values as they were typed, or as they came from a config.

    Raises:
        ConfigError: An option that the reader does not have, or a value of another form.
    """
    known = dict(list(signature(read).parameters.items())[1:])
    forms = get_type_hints(read)
    out = {}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"{title}: {UnknownNameError.of('option', name, list(known) or ['(none)'])}")
        out[name] = _in_form(value, forms[name], known[name], title)
    return out


def _in_form(value: Any, form: Any, option: Parameter, title: str) -> Any:
    taken = _convert(value, form)
    if taken is _NO:
        form_text, example = _described(form, option)
        raise ConfigError(
            f"{title}: option {option.name!r} is {form_text}, as {option.name}={example}; found {value!r}"
        )
    return taken


def _convert(value: Any, form: Any) -> Any:
    """The value in a form, or `_NO`."""
    choices = _alternatives(form)
    if len(choices) > 1:
        listed = isinstance(value, str) and "," in value and any(get_origin(c) is Sequence for c in choices)
        exact = [c for c in choices if not get_origin(c) and type(value) is c and not listed]
        tried = (_convert(value, choice) for choice in [*exact, *choices])
        return next((taken for taken in tried if taken is not _NO), _NO)
    origin = get_origin(form) or form
    if origin is Literal:
        return _one_of(value, get_args(form))
    if origin in (Sequence, Iterable, list, tuple):
        taken = _several(value, get_args(form)[0])
        return _NO if taken == [] and origin is Sequence else taken
    if origin is Mapping:
        return value if isinstance(value, Mapping) else _NO
    return _PLAIN[origin](value) if origin in _PLAIN else value


def _alternatives(form: Any) -> tuple[Any, ...]:
    return get_args(form) if get_origin(form) in (Union, UnionType) else (form,)


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    """The choice that is meant; an unknown one goes through, for the reader names the nearest."""
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    for choice in choices:
        if choice is not None and not isinstance(value, bool) and str(value) == str(choice):
            return choice
    return value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else _NO


def _several(value: Any, form: Any) -> Any:
    if isinstance(value, str):
        between = r"\s*[,;]\s*" if form is str else r"[\s,;]+"  # a name may hold blanks
        entries: list[Any] = [word for word in re.split(between, value.strip("[]() \t")) if word]
    elif isinstance(value, (list, tuple, range, set, frozenset)):
        entries = list(value)
    elif value is None or isinstance(value, Mapping):
        return _NO
    else:
        entries = [value]
    taken = [_convert(entry, form) for entry in entries]
    return _NO if any(entry is _NO for entry in taken) else taken


def _whole(value: Any) -> Any:
    if isinstance(value, bool):
        return _NO
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else _NO
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        return int(text)
    unit = _UNIT.fullmatch(text)
    return int(unit[1]) if unit else _NO


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return _NO
    try:
        return float(value)
    except (TypeError, ValueError):
        return _NO


def _truth(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    spelled = {"true": True, "yes": True, "on": True, "1": True}
    spelled |= {"false": False, "no": False, "off": False, "0": False}
    return spelled.get(str(value).strip().lower(), _NO)


def _text(value: Any) -> Any:
    """Text; a number where YAML took a name such as 2017 for one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return _NO
    return str(value)


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    int: _whole,
    float: _number,
    bool: _truth,
    str: _text,
    Path: lambda value: Path(value) if isinstance(value, (str, Path)) else _NO,
    NoneType: lambda value: None if value is None else _NO,
}


def _described(form: Any, option: Parameter) -> tuple[str, str]:
    """What an option takes, in words, and an example."""
    main = next(choice for choice in _alternatives(form) if choice is not NoneType)
    origin = get_origin(main) or main
    if origin is Literal:
        choices = [choice for choice in get_args(main) if choice is not None]
        return f"one of {', '.join(map(str, choices))}", str(choices[0])
    if origin in (Sequence, Iterable, list, tuple):
        words, example = _WORDS.get(get_args(main)[0], _WORDS[str])
        return f"one or several {words} with commas between", example
    if origin is Mapping:
        return "a mapping", "{a: b}"
    return {int: ("a whole number", "1"), float: ("a number", "0.5"), bool: ("true or false", "true")}.get(
        origin, ("text", "NAME" if option.default in (None, Parameter.empty) else str(option.default))
    )


_WORDS: dict[Any, tuple[str, str]] = {
    int: ("whole numbers", "1,2,12"),
    float: ("numbers", "0.8,0.1,0.1"),
    str: ("names", "a,b"),
}
