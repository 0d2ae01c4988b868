"""Header changes, applied to stored copies as Envoy applies them to the message itself."""

from collections.abc import Mapping

from policy.processing import HeaderChanges


def applied(changes: HeaderChanges, headers: Mapping[str, str]) -> dict[str, str]:
    """The header fields after the changes, in the order remove, set, append."""
    result = {name: value for name, value in headers.items() if name not in changes.remove}
    result.update(changes.set)
    for name, value in changes.append:
        result[name] = f"{result[name]}, {value}" if name in result else value
    return result


def merged(first: HeaderChanges, second: HeaderChanges) -> HeaderChanges:
    """Both, the second one winning where they name the same field."""
    if not first:
        return second
    if not second:
        return first
    to_set = dict(first.set) | dict(second.set)
    for name in second.remove:
        to_set.pop(name, None)
    removed = dict.fromkeys((*first.remove, *second.remove))
    return HeaderChanges(
        remove=tuple(name for name in removed if name not in to_set),
        set=tuple(to_set.items()),
        append=tuple(header for header in first.append if header[0] not in second.remove) + second.append,
    )
