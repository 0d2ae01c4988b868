"""Time: counts are kept by the minute, the hour and the day, each as long as a window of the report needs it."""

from dataclasses import dataclass

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Window:
    """A period that ends now, as a number of buckets; the one that has just begun is the last of them."""

    name: str
    bucket_s: int
    buckets: int

    def first_bucket(self, now_s: float) -> int:
        """The start of the oldest bucket that belongs to it, in seconds since 1970."""
        return bucket(now_s, self.bucket_s) - (self.buckets - 1) * self.bucket_s


WINDOWS = {
    window.name: window for window in (Window("1h", MINUTE_S, 60), Window("24h", HOUR_S, 24), Window("30d", DAY_S, 30))
}
_KEPT_LONGER = 1.1
"""Than the window is: a report that is being made must not lose its oldest bucket."""


def bucket(now_s: float, bucket_s: int) -> int:
    """The start of the bucket that a moment falls into."""
    return int(now_s) // bucket_s * bucket_s


def expired_before(window: Window, now_s: float) -> int:
    """Buckets of the window's size that began before this are needed no more."""
    return bucket(now_s - window.buckets * window.bucket_s * _KEPT_LONGER, window.bucket_s)
