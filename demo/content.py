"""What each demo service knows, enough to look like an API."""

from collections.abc import Mapping, Sequence

Record = Mapping[str, str | int | Sequence[str]]

RECORDS: Mapping[str, Sequence[Record]] = {
    "users": (
        {"id": 1, "name": "Alice", "city": "Lyon", "interests": ["python", "climbing"]},
        {"id": 2, "name": "Bob", "city": "Porto", "interests": ["go", "cooking"]},
        {"id": 3, "name": "Carol", "city": "Ghent", "interests": ["rust", "chess"]},
    ),
    "events": (
        {"id": 1, "title": "Async Python night", "city": "Lyon", "seats": 40},
        {"id": 2, "title": "Envoy for everyone", "city": "Porto", "seats": 25},
    ),
    "matching": ({"id": 1, "users": ["alice", "bob"], "score": 87},),
}


def lookup(path: str) -> Sequence[Record] | Record | None:
    """`/users` is a list, `/users/2` one of it; None for everything else (the echo is the answer then)."""
    name, _, key = path.strip("/").partition("/")
    records = RECORDS.get(name)
    if records is None or not key:
        return records
    return next((record for record in records if str(record["id"]) == key), None)
