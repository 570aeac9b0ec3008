"""Data from elsewhere against a schema: plain types, ranges, and one message that names what does not fit.

Values are checked strictly and never converted, so that nothing unknown reaches what uses them.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Positive = Annotated[int, Field(ge=1, le=10_000_000)]
Rank = Annotated[int, Field(ge=1, le=65_536)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=1000)]
Text = Annotated[str, Field(max_length=100_000)]
Plain = str | int | float | bool | None


class Data(BaseModel):
    """Values of exactly these types: a text is not taken for a number, nor a mapping for a text."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Loose(Data):
    """The same where others write keys that are none of ours; those are dropped."""

    model_config = ConfigDict(strict=True, extra="ignore")


def fitted(schema: type[Data], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as `schema` has them, without what it does not list or they do not set.

    Raises:
        ValueError: they do not fit; the message names up to three keys.
    """
    try:
        return schema.model_validate(dict(values)).model_dump(exclude_unset=True)
    except ValidationError as error:
        found = [f"{_where(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False, include_input=False)]
        raise ValueError("; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")) from None


def _where(place: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in place)
