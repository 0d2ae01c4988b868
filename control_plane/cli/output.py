"""Values as YAML or JSON on standard output."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

import typer
import yaml

Format = Literal["yaml", "json"]


def print_value(value: Mapping[str, object] | Sequence[object], form: Format) -> None:
    """Keys stay in the order that they have: a resource reads best in the order of its definition."""
    if form == "json":
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        typer.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120), nl=False)
