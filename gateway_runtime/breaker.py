"""Whether the store is asked at all: after failures nobody waits for it any more until a probe has come through."""


class Breaker:
    """Closed: the store is asked. Open: it is not."""

    def __init__(self, failures: int = 2) -> None:
        """
        Args:
            failures: slow answers in a row that open it; a store that cannot be reached opens it at once.
        """
        self._limit = failures
        self._failures = 0
        self.is_open = False
        self.opened = 0
        """How many times it opened."""

    def failed(self, *, for_certain: bool) -> bool:
        """One call failed; True if that opened it."""
        self._failures += 1
        if self.is_open or not (for_certain or self._failures >= self._limit):
            return False
        self.is_open = True
        self.opened += 1
        return True

    def succeeded(self) -> None:
        self._failures = 0

    def close(self) -> None:
        self._failures = 0
        self.is_open = False
