"""Raw JSON of the Kubernetes API -> values."""

from typing import Any

import orjson
import pytest

from control_plane.endpoints import (
    AddressType,
    Condition,
    EndpointSlice,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
)
from control_plane.kubernetes.list_watch import Bookmark, Failure, Gone, Item, Page, Put
from control_plane.kubernetes.parsing import (
    WEIGHT_ANNOTATION,
    UnreadableError,
    parse_config_map,
    parse_endpoint_slice,
    parse_event,
    parse_failure,
    parse_page,
    parse_secret,
    parse_service,
)


def raw_slice(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "users-x7k2p",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "users"},
            "resourceVersion": "42",
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}],
        "endpoints": [
            {
                "addresses": ["10.1.2.3"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": "node-1",
                "zone": "eu-west-1a",
                "hints": {"forZones": [{"name": "eu-west-1b"}]},
                "targetRef": {"kind": "Pod", "name": "users-5d4", "namespace": "shop", "uid": "u-1"},
            }
        ],
        **changes,
    }


def test_a_slice_as_the_controller_writes_it() -> None:
    """Everything that the gateway uses of it."""
    expected = EndpointSlice(
        "shop",
        "users",
        "users-x7k2p",
        AddressType.IPV4,
        (SlicePort("http", 8080, "http"),),
        (SliceEndpoint("10.1.2.3", Condition.READY, "eu-west-1a", ("eu-west-1b",), "users-5d4"),),
    )

    assert expected == parse_endpoint_slice(raw_slice())


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, Condition.READY),
        ({}, Condition.READY),
        ({"ready": None, "serving": None, "terminating": None}, Condition.READY),
        ({"ready": True}, Condition.READY),
        ({"ready": False}, Condition.NOT_READY),
        ({"ready": False, "serving": False, "terminating": False}, Condition.NOT_READY),
        ({"ready": False, "serving": True, "terminating": True}, Condition.TERMINATING),
        ({"ready": False, "terminating": True}, Condition.TERMINATING),
        ({"ready": False, "serving": False, "terminating": True}, Condition.STOPPED),
        # publishNotReadyAddresses: the controller says ready whatever the pod does.
        ({"ready": True, "serving": False, "terminating": True}, Condition.STOPPED),
        ({"ready": True, "serving": True, "terminating": True}, Condition.TERMINATING),
    ],
)
def test_conditions(conditions: dict[str, bool] | None, expected: Condition) -> None:
    """An absent condition is ready, serving, not terminating."""
    raw = raw_slice(endpoints=[{"addresses": ["10.1.2.3"], "conditions": conditions}])
    parsed = parse_endpoint_slice(raw)

    assert parsed is not None
    assert (SliceEndpoint("10.1.2.3", expected),) == parsed.endpoints


def test_what_a_slice_may_leave_out() -> None:
    """Null and absent lists, ports without name or number, other protocols."""
    ports = [{"port": 53, "protocol": "UDP"}, {"name": None, "port": None}]
    parsed = parse_endpoint_slice(raw_slice(endpoints=None, ports=ports))
    assert parsed is not None
    assert ((), (SlicePort("", None),)) == (parsed.endpoints, parsed.ports)
    assert () == parse_endpoint_slice(raw_slice(ports=None)).ports  # type: ignore[union-attr]


def test_a_slice_of_no_service_does_not_count() -> None:
    """The label is how a slice belongs to a Service."""
    assert parse_endpoint_slice(raw_slice(metadata={"name": "x", "namespace": "shop"})) is None


@pytest.mark.parametrize(("text", "weight"), [("7", 7), ("0", 0), ("65535", 65535), ("65536", 1), ("-1", 1), ("x", 1)])
def test_the_weight_annotation(text: str, weight: int) -> None:
    """A number in range, else 1: a typing error shall not cost endpoints."""
    raw = raw_slice()
    raw["metadata"]["annotations"] = {WEIGHT_ANNOTATION: text}
    parsed = parse_endpoint_slice(raw)
    assert parsed is not None
    assert weight == parsed.weight


def test_an_object_of_unknown_form_does_not_hide_the_others() -> None:
    """An address type of a later Kubernetes: that slice does not count, the page is read."""
    body = orjson.dumps({"metadata": {"resourceVersion": "50"}, "items": [raw_slice(addressType="IPv8"), raw_slice()]})

    page = parse_page(body, parse_endpoint_slice)

    assert [None, "users"] == [one.value and one.value.service for one in page.items]


def test_a_page() -> None:
    """Items with their versions, the list's version, the token of the next page."""
    body = orjson.dumps({"metadata": {"resourceVersion": "50", "continue": "token"}, "items": [raw_slice()]})
    page = parse_page(body, lambda raw: raw["addressType"])
    assert Page((Item("users-x7k2p", "IPv4", "42"),), "50", "token") == page
    assert Page((), "50") == parse_page(b'{"metadata": {"resourceVersion": "50"}, "items": null}', lambda raw: raw)


@pytest.mark.parametrize(
    ("kind", "subject", "expected"),
    [
        ("ADDED", raw_slice(), Put(Item("users-x7k2p", "IPv4", "42"))),
        ("MODIFIED", raw_slice(), Put(Item("users-x7k2p", "IPv4", "42"))),
        ("DELETED", raw_slice(), Gone("users-x7k2p", "42")),
        ("BOOKMARK", {"metadata": {"resourceVersion": "77"}}, Bookmark("77")),
        (
            "ERROR",
            {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
            Failure(410, "too old", "Expired"),
        ),
    ],
)
def test_watch_events(kind: str, subject: dict[str, Any], expected: object) -> None:
    """The five types there are."""
    line = orjson.dumps({"type": kind, "object": subject})
    assert expected == parse_event(line, lambda raw: raw["addressType"])


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"x"', b'{"items": [{}]}', b'{"items": 3}'])
def test_answers_of_something_else(body: bytes) -> None:
    """A captive proxy does not crash the control plane."""
    with pytest.raises(UnreadableError):
        parse_page(body, parse_endpoint_slice)
    with pytest.raises(UnreadableError):
        parse_event(body, parse_endpoint_slice)


def test_failures() -> None:
    """A Status object, or whatever a proxy in front of the API server says."""
    status = b'{"kind":"Status","message":"slow down","reason":"TooManyRequests","details":{"retryAfterSeconds":3}}'
    assert Failure(429, "slow down", "TooManyRequests", 3) == parse_failure(429, status, "1")
    assert Failure(502, "<html>", "", 5) == parse_failure(502, b"<html>", "5")
    assert Failure(503, "HTTP status 503") == parse_failure(503, b"", None)
    assert Failure(503, "HTTP status 503") == parse_failure(503, b"{}", "Wed, 21 Oct 2026 07:28:00 GMT")


def test_a_service() -> None:
    """Ports (TCP only), families, and whether unready endpoints are published."""
    raw = {
        "metadata": {"name": "users", "namespace": "shop"},
        "spec": {
            "type": "ClusterIP",
            "ports": [
                {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"},
                {"name": "grpc", "port": 9000, "targetPort": 9001, "appProtocol": "kubernetes.io/h2c"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ],
            "ipFamilies": ["IPv6", "IPv4"],
            "publishNotReadyAddresses": True,
        },
    }
    ports = (ServicePort("http", 80), ServicePort("grpc", 9000, 9001, "kubernetes.io/h2c"))
    families = (AddressType.IPV6, AddressType.IPV4)

    assert ServiceSpec("shop", "users", ports, True, families) == parse_service(raw)


def test_an_external_name() -> None:
    """The name without a final dot; of other types it means nothing."""
    spec = {"type": "ExternalName", "externalName": "db.example.com."}
    raw = {"metadata": {"name": "db", "namespace": "shop"}, "spec": spec}
    assert "db.example.com" == parse_service(raw).external_name
    assert "" == parse_service({**raw, "spec": {**spec, "type": "ClusterIP"}}).external_name


def test_a_secret_prints_no_content() -> None:
    """Values are decoded; keys are all that shows in logs."""
    raw = {"metadata": {"name": "cert", "namespace": "shop"}, "data": {"tls.key": "aHVzaA==", "bad": "%%"}}
    secret = parse_secret(raw)
    assert {"tls.key": b"hush"} == secret.content
    assert "hush" not in repr(secret)
    assert "tls.key" in repr(secret)


def test_a_config_map() -> None:
    """Text and binary keys."""
    raw = {
        "metadata": {"name": "gateway", "namespace": "shop"},
        "data": {"gateway.yaml": "version: 1\n"},
        "binaryData": {"x": "AAE="},
    }
    assert {"gateway.yaml": b"version: 1\n", "x": b"\x00\x01"} == parse_config_map(raw).content
