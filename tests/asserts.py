"""Assertions that several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from concord.errors import ConcordError


@contextmanager
def raises(kind: type[ConcordError], *said: str) -> Iterator[None]:
    """Exactly this error, in one line that names everything in `said`."""
    with pytest.raises(ConcordError) as caught:
        yield
    message = str(caught.value)
    assert type(caught.value) is kind, f"{type(caught.value).__name__}: {message}"
    assert "\n" not in message
    for part in said:
        assert part in message, f"{part!r} is not in {message!r}"
