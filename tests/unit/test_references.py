"""The generated references say what the programs say."""

import sys

import pytest

from scripts import commands_reference, metrics_reference


@pytest.mark.timeout(120)
def test_metrics_reference_is_fresh() -> None:
    """docs/reference/metrics.md is what the registries hold; `make reference` writes it."""
    assert metrics_reference.reference() == metrics_reference.TARGET.read_text()


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help differently in each version")
def test_commands_reference_is_fresh() -> None:
    """docs/reference/commands.md is what --help prints; `make reference` writes it."""
    assert commands_reference.reference() == commands_reference.TARGET.read_text()


def test_every_metric_has_a_text() -> None:
    """No metric is left to guessing, and none has a label that names a caller."""
    rows = [
        line.split("|")[1:-1] for line in metrics_reference.TARGET.read_text().splitlines() if line.startswith("| `")
    ]
    texts = [row[3].strip() for row in rows]
    labels = {label.strip(" `") for row in rows for label in row[2].split(",")}

    assert all(texts)
    assert set() == labels & {"user", "client_ip", "path", "request_id", "node", "token"}
