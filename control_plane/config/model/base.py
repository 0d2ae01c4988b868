"""What every part of the model shares."""

from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from control_plane.config.scalars import Int


class Section(BaseModel):
    """A frozen part of gateway.yaml; unknown keys are errors, attribute docstrings become the JSON Schema's text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


def _listed(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else [value]


def _switch(value: object) -> str:
    return OFF if value == "none" else ON


ON, OFF = "<on>", "<off>"
"""Tags of Switchable; they stand in pydantic's error locations and in no file."""

T = TypeVar("T")
Off = Literal["none"]
Switchable: TypeAlias = Annotated[
    Annotated[T, Tag(ON)] | Annotated[Off, Tag(OFF)],
    Discriminator(_switch),
]
"""A value, or `none` that switches a default off; by tag, so that a fault is reported for the one that was meant."""

Port = Annotated[Int, Field(ge=1, le=65535)]
Percent = Annotated[Int, Field(ge=0, le=100)]
Count = Annotated[Int, Field(ge=0, le=4_294_967_295)]
"""What Envoy's uint32 holds."""
Status = Annotated[Int, Field(ge=200, le=599)]
OneOrMore = BeforeValidator(_listed)
"""A single value is a list of one."""
