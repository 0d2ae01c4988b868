"""Whatever a line carries, no secret is written."""

import subprocess
import sys

import pytest

from gateway_runtime.redaction import redact, without_secrets

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
SECRET = "s3cr3t-value-that-nobody-may-see"

PROGRAM = f"""
import logging
from gateway_runtime.telemetry import configure_logging, logger
configure_logging("debug", FORMAT, process="test")
log = logger("test").bind(url="redis://user:{SECRET}@host:6379/0")
log.info("connected", headers={{"Authorization": "Bearer {SECRET}", "Cookie": "id={SECRET}"}}, password="{SECRET}")
log.warning("https://issuer/token?client_secret={SECRET}&x=1", tried=["{JWT}"])
logging.getLogger("library").error("refused: Authorization: Bearer %s", "{SECRET}")
try:
    raise ValueError("token={SECRET}", "{JWT}")
except ValueError:
    log.exception("check_failed")
    logging.getLogger("library").exception("failed")
"""


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_secret_reaches_the_output(format: str) -> None:
    """Fields, nested values, events, exceptions and other libraries' lines: grep finds none of them."""
    program = PROGRAM.replace("FORMAT", repr(format))
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "" == ran.stdout
    assert SECRET not in ran.stderr
    assert JWT.partition(".")[0] not in ran.stderr
    assert 5 <= ran.stderr.count("[redacted]")
    assert all(word in ran.stderr for word in ("connected", "check_failed", "library", "ValueError"))


@pytest.mark.parametrize(
    "text",
    ["gateway_config_reloads 3", "token bucket of alice", "x-request-id=7f", "http://127.0.0.1:8101/a", "authz-1f:2e"],
)
def test_the_rest_stays(text: str) -> None:
    """What is no secret is not touched."""
    assert text == without_secrets(text)


def test_ids_stay() -> None:
    """Who it was may be said: the subject of a token and the id of a key are no secrets."""
    event = {"event": "denied", "user": "alice", "api_key": "acme", "status": 401, "rate_limit": None}

    assert event == redact(None, "info", dict(event))
