"""The HTTP calls of `gatewayctl cache`."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ConfigDict, ValidationError

_TIMEOUT_S = 10.0
_OUTCOMES = ("hit", "stale", "collapsed", "miss", "bypass")


@dataclass
class CacheError(Exception):
    """For the operator, in one line."""

    text: str
    exit_code: int = 1

    def __str__(self) -> str:
        return self.text


class Outcome(BaseModel):
    """Node ids."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    acknowledged: tuple[str, ...]
    missing: tuple[str, ...]


def post_purge(server: str, token: str, wanted: Mapping[str, str | bool]) -> Outcome:
    """
    Raises:
        CacheError: the control plane did not do it; exit code 2 if it cannot be done as asked.
    """
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    url = server.rstrip("/") + "/api/cache/purge"
    try:
        request = urllib.request.Request(url, json.dumps(wanted).encode(), headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # nosec B310 - the caller's own --server
            return Outcome.model_validate_json(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == 400:
            raise CacheError(error.read().decode(errors="replace").strip(), 2) from error
        hint = ": set GATEWAY_TOKEN" if error.code == 401 else ""
        raise CacheError(f"{server} answers {error.code} {error.reason}{hint}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise _unreachable("control plane", server, error) from error
    except ValidationError as error:
        raise CacheError(f"{server} is no control plane of this gateway") from error


def table_of(servers: Iterable[str]) -> str:
    """Lines for people: one a route, sums over the servers.

    Raises:
        CacheError: one of them does not answer.
    """
    sums: dict[str, dict[str, float]] = {}
    for server in servers:
        for family in text_string_to_metric_families(_metrics(server)):
            for sample in family.samples:
                column = _column(sample.name, sample.labels)
                if column:
                    row = sums.setdefault(sample.labels["route"], {})
                    row[column] = row.get(column, 0.0) + sample.value
    columns = ("entries", "bytes", *_OUTCOMES, "shared", "evictions")
    width = max(map(len, ("route", *sums)))
    lines = [f"{'route':{width}}  " + "  ".join(f"{column:>10}" for column in columns)]
    for route, row in sorted(sums.items()):
        lines.append(f"{route:{width}}  " + "  ".join(f"{row.get(column, 0):>10,.0f}" for column in columns))
    return "\n".join(lines)


def _column(name: str, labels: Mapping[str, str]) -> str | None:
    if name == "gateway_cache_requests_total":
        return labels["outcome"]
    if name == "gateway_cache_fetches_total" and labels["result"] == "hit":
        return "shared"
    found = {
        "gateway_cache_entries": "entries",
        "gateway_cache_bytes": "bytes",
        "gateway_cache_evictions_total": "evictions",
    }
    return found.get(name)


def _metrics(server: str) -> str:
    try:
        with urllib.request.urlopen(f"{server.rstrip('/')}/metrics", timeout=_TIMEOUT_S) as answer:  # nosec B310 - as above
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise _unreachable("ext_proc", server, error) from error


def _unreachable(what: str, server: str, error: Exception) -> CacheError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return CacheError(f"no {what} at {server}: {reason}")
