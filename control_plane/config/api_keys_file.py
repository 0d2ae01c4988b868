"""`keys_file` of auth.api_keys: the same list as `keys`, in YAML or JSON, in a file of its own."""

from pydantic import TypeAdapter, ValidationError

from control_plane.config.model.auth import ApiKey
from control_plane.config.reading import read_items
from control_plane.config.tree import plain

_KEYS = TypeAdapter(tuple[ApiKey, ...])


class ApiKeysFileError(Exception):
    """The file is not what it should be; the text says how, without showing its content."""


def parse_api_keys(content: bytes) -> tuple[ApiKey, ...]:
    """Return the keys of a file: `[{id: acme, sha256: "<64 hex digits>", attributes: {tier: gold}}]`.

    Raises:
        ApiKeysFileError: it is not such a list, or a digest stands in it twice.
    """
    root, faults = read_items("keys_file", content)
    if faults or root is None:
        raise ApiKeysFileError(f"is not a list of API keys: {faults[0].message if faults else 'it is empty'}")
    try:
        keys = _KEYS.validate_python(plain(root))
    except ValidationError as error:
        where = error.errors(include_input=False)[0]["loc"]
        place = f"entry {where[0]}" + (f", {where[1]}" if len(where) > 1 else "") if where else "its whole"
        raise ApiKeysFileError(f"is not a list of {{id, sha256, attributes}}: {place} does not fit") from None
    digests = [key.sha256.lower() for key in keys]
    if len(set(digests)) != len(digests):
        raise ApiKeysFileError("holds one digest twice (every digest once)")
    return keys
