"""Durations as people write them on a command line."""

import argparse
import re

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """`90`, `90s`, `5m`, `1h`; raises argparse.ArgumentTypeError with what is allowed."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration (90s, 5m, 1h)")
    return float(found[1]) * _UNITS[found[2]]
