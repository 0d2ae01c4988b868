"""How much memory entries take; one such test, since tracing slows everything down."""

import tracemalloc

from ext_proc import messages
from ext_proc.cache.memory import MemoryStore
from ext_proc.events import Serve
from tests.unit.ext_proc.rules import DATE, rules
from tests.unit.ext_proc.test_exchange import gateway


def test_memory_of_small_entries_is_accounted_for_and_bounded() -> None:
    """An entry of 1 KiB, its answer prepared by a first hit, takes at most 2.5 KiB, about as much as is counted."""
    count = 2000
    g = gateway(rules(max_body_bytes=4096))
    g.store = g.cache.store = MemoryStore(max_bytes=1 << 30, max_entries=count)
    headers = {
        "cache-control": "max-age=60",
        "content-type": "application/json; charset=utf-8",
        "content-length": "1024",
    }
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            path = f"/api/items/{number}?page=1&size=20"
            g.fetch(path, {**headers, "date": DATE, "etag": f'"{number:032x}"', "x-powered-by": "y"}, bytes(1024))
            action = g.begin(path).action
            assert isinstance(action, Serve)
            messages.write(action)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert count == len(g.store)
    assert used / count < 2560
    assert 0.8 < used / g.store.bytes < 1.2
