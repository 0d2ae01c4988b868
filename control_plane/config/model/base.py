"""What every part of the model shares."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from control_plane.config.scalars import Int


class Section(BaseModel):
    """A frozen part of gateway.yaml; unknown keys are errors, attribute docstrings become the JSON Schema's text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


def _listed(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else [value]


Off = Literal["none"]
Port = Annotated[Int, Field(ge=1, le=65535)]
Percent = Annotated[Int, Field(ge=0, le=100)]
Status = Annotated[Int, Field(ge=200, le=599)]
OneOrMore = BeforeValidator(_listed)
"""A single value is a list of one."""
