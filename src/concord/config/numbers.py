"""Numbers of configs and study plans: none of them is true or false, which Python counts as 1 and 0.

That check comes last in each, so that a range stands in the JSON schema in the schema's own words.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _no_truth(what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"{what} is needed, found {str(value).lower()}")
        return value

    return BeforeValidator(check)


WHOLE, NUMBER = _no_truth("a whole number"), _no_truth("a number")
"""For ranges of one field's own: `Annotated[int, Field(ge=2), WHOLE]`."""

Whole = Annotated[int, Field(ge=0, lt=2**31), WHOLE]
Count = Annotated[int, Field(ge=1, lt=2**31), WHOLE]
Seed = Annotated[int, Field(ge=0, lt=2**32), WHOLE]
"""What NumPy's and torch's generators both take."""

Number = Annotated[float, NUMBER]
Weight = Annotated[float, Field(ge=0), NUMBER]
Positive = Annotated[float, Field(gt=0), NUMBER]
Probability = Annotated[float, Field(ge=0, le=1), NUMBER]
Portion = Annotated[float, Field(gt=0, le=1), NUMBER]
"""Some of a whole, or all of it."""
Fraction = Annotated[float, Field(ge=0, lt=1), NUMBER]
"""None of a whole, or some of it, never all."""
