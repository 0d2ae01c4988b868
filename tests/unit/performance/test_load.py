"""Reading what the load generators print."""

import json

import pytest

from tests.performance.load import Load, k6_script, parse_k6, parse_wrk
from tests.performance.processes import BenchError

WRK = """\
Running 4s test @ http://127.0.0.1:10000/authz
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.42ms    1.60ms  13.85ms   84.08%
    Req/Sec     1.70k   372.92     2.23k    50.00%
  Latency Distribution
     50%  500.00us
     75%    2.82ms
     90%    4.46ms
     99%    1.50s
  1691 requests in 4.00s, 858.71KB read
"""


def test_wrk_report() -> None:
    """Requests, duration and percentiles come in seconds, whatever unit wrk chose."""
    assert Load(requests=1691, duration_s=4.0, p50_s=0.0005, p99_s=1.5, failures=0) == parse_wrk(WRK)


def test_wrk_pads_short_units() -> None:
    """A space after the figure, as wrk writes it for seconds, does not hide the figure."""
    assert parse_wrk(WRK) == parse_wrk(WRK.replace("1.50s", "1.50s "))


def test_wrk_failures_are_refusals_and_broken_connections() -> None:
    """Refused answers and socket errors both count as failures."""
    errors = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 90\n"

    assert 100 == parse_wrk(WRK + errors).failures


def test_wrk_without_report() -> None:
    """Text without the report is an error that shows the text."""
    with pytest.raises(BenchError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_k6_summary() -> None:
    """k6 counts milliseconds; its passes of http_req_failed are the failures."""
    summary = json.dumps(
        {
            "metrics": {
                "http_reqs": {"count": 500, "rate": 250.0},
                "http_req_duration": {"med": 2.0, "p(99)": 8.0},
                "http_req_failed": {"passes": 3, "fails": 497, "value": 0.006},
            }
        }
    )

    assert Load(requests=500, duration_s=2.0, p50_s=0.002, p99_s=0.008, failures=3) == parse_k6(summary)


def test_k6_script_quotes_what_it_is_given() -> None:
    """URL and headers stand in the program as JSON strings, so that no quote ends them early."""
    script = k6_script('http://127.0.0.1/?q="', {"authorization": "Bearer a"}, connections=8, duration_s=2)

    assert 'http.get("http://127.0.0.1/?q=\\"", {"headers": {"authorization": "Bearer a"}})' in script


def test_requests_per_second() -> None:
    """The rate is requests over the time that the generator measured."""
    assert 422.75 == parse_wrk(WRK).requests_per_s
