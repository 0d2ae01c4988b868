"""Variables for `${NAME}`: the process's own, then --env-file, then `.env` beside the configuration.

For gatewayctl only: containers get their variables from whoever runs them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class EnvFileError(Exception):
    """A file of variables that cannot be read or understood: FILE:LINE: what is wrong."""


def environment_for(config: Path, env_file: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Every variable that the configuration may use; the process's own win. Raises EnvFileError.

    Args:
        config: gateway.yaml; a `.env` in its folder may be there or not.
        env_file: one that was named and so has to be there.
    """
    beside = config.parent / ".env"
    found = read_env_file(beside) if beside.is_file() else {}
    if env_file is not None:
        found |= read_env_file(env_file)
    return {**found, **environment}


def read_env_file(path: Path) -> dict[str, str]:
    """Raises EnvFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EnvFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise EnvFileError(f"{path}: not UTF-8") from None
    return parse_env(text, str(path))


def parse_env(text: str, name: str) -> dict[str, str]:
    """NAME=value a line; `export`, # comments, 'as it stands' and "with \\n escapes" as shells know them.

    Nothing is expanded: a `$` is a `$`.
    """
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise EnvFileError(f"{name}:{number}: not a variable (NAME=value)")
        variables[match[1]] = _value(match[2], f"{name}:{number}")
    return variables


def _value(text: str, place: str) -> str:
    if text[:1] not in ("'", '"'):
        return re.split(r"\s#", text, maxsplit=1)[0].rstrip()
    quote = text[0]
    body = r"((?:[^\"\\]|\\.)*)" if quote == '"' else r"([^']*)"
    match = re.fullmatch(rf"{quote}{body}{quote}\s*(?:#.*)?", text)
    if match is None:
        raise EnvFileError(f"{place}: the quote is not closed")
    if quote == "'":
        return match[1]
    return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), match[1])
