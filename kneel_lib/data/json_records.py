"""Json that somebody else wrote, or that lay on a disk: held against a type before anything reads it.

The type is a dataclass of plain annotations, with the bounds of `annotated_types`; what holds the text
against it is pydantic, strictly: nothing is taken for what it is not. It bears texts of any depth and numbers
of any length.
"""

from functools import cache
from typing import Any, TypeVar

from kneel_lib.data.tables import said
from kneel_lib.errors import KneelError

Kind = TypeVar("Kind")


def read_json(text: str | bytes, kind: type[Kind], place: object, then: str) -> Kind:
    """What a json text says, as a value of `kind`. place: names the text in messages. then: what to do about
    a wrong one. `KneelError` says where in the text, what stands there and what is allowed."""
    from pydantic import ValidationError  # a third of a second, which who reads no json need not wait

    try:
        return reader_of(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as errors:
        first = errors.errors(include_url=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise KneelError(f"{place} is not json ({first['msg'].split(': ', 1)[-1]}): {then}") from None
        inside = ".".join(map(str, first["loc"])) or "the whole"
        if first["type"] == "missing":
            raise KneelError(f"{place} has no {inside}: {then}") from None
        value = said(first["input"])
        allowed = first["msg"].removeprefix("Input should be ")
        raise KneelError(f"{place}, {inside}: {value}, allowed is {allowed}: {then}") from None


@cache
def reader_of(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
