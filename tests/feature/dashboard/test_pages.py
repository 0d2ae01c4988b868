"""The status page over real HTTP, without a browser."""

import re
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest

from control_plane.admin.guard import Sessions
from control_plane.admin.http import Protection
from tests.feature.dashboard.site import PATHS, Document, document, fetched, site

NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>--!><!--end-->'


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as opened:
        yield opened


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_has_its_landmarks_and_no_inline_code(session: aiohttp.ClientSession, path: str) -> None:
    """One h1, a main, a named navigation; scripts and styles only from files; the policy forbids all else."""
    async with site(document()) as running, session.get(running.url + path) as answer:
        text, headers = await answer.text(), answer.headers

    assert 200 == answer.status
    assert (1, 1) == (text.count("<h1"), text.count("<main"))
    assert '<html lang="en">' in text
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|\sstyle=|javascript:", text)
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert ("nosniff", "DENY", "no-referrer") == (
        headers["X-Content-Type-Options"],
        headers["X-Frame-Options"],
        headers["Referrer-Policy"],
    )


async def test_errors_and_streams_have_the_headers_too(session: aiohttp.ClientSession) -> None:
    """A page that is not there is a page."""
    async with site(document()) as running:
        for path in ("/nothing", "/live?path=/nothing", "/live?path=/", "/static/app.css", "/metrics"):
            async with session.get(running.url + path) as answer:
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], path


@pytest.mark.parametrize(
    "path",
    [
        "/?gateway={}",
        "/clients?q={}&state={}",
        "/services?sort={}&page={}",
        "/routes?q={}",
        "/history?gateway={}",
        "/services/view?name={}",
        "/history/diff?from={}&to=1",
    ],
)
async def test_what_is_asked_for_stays_text(session: aiohttp.ClientSession, path: str) -> None:
    """Nobody's link puts a script into the page of an operator."""
    async with site(document()) as running:
        asked = path.replace("{}", "%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
        status, text = await fetched(session, running.url + asked)

    assert 200 == status
    assert "<script>alert" not in text


async def test_a_report_of_a_nasty_name_changes_nothing(session: aiohttp.ClientSession) -> None:
    """What is reported of names that nobody configured is left aside."""
    async with site(document()) as running:
        for moment in (1.0, 6.0):
            running.report(NASTY, moment, counters={f"cluster.{NASTY}.upstream_rq_2xx": int(moment)})
        for path in PATHS:
            _, text = await fetched(session, running.url + path)
            assert "alert(" not in text, path


async def test_numbers_are_on_the_page(session: aiohttp.ClientSession) -> None:
    """Rates from two reports; endpoints with the health that Envoy sees."""
    async with site(document()) as running:
        gauges = {
            "cluster.service-0001.endpoint.10.0.0.2_8080.healthy": 0,
            "cluster.service-0001.membership_total": 1,
            "cluster.service-0001.membership_healthy": 0,
            "cluster.service-0001.outlier_detection.ejections_active": 1,
        }
        running.report("e1", 0.0, gauges=gauges)
        running.report(
            "e1",
            10.0,
            gauges=gauges,
            counters={"http.public.downstream_rq_2xx": 4000, "cluster.service-0001.upstream_rq_5xx": 250},
        )
        _, overview = await fetched(session, running.url + "/")
        _, services = await fetched(session, running.url + "/services?state=down")
        _, view = await fetched(session, running.url + "/services/view?name=service-0001")

    assert "400 /s" in overview
    assert "Service service-0001 has no healthy endpoint: 0 of 1 (1 ejected because of errors)" in overview
    assert "service-0001" in services
    assert "service-0000" not in services
    assert "25.0 /s" in services
    assert "healthy on 0 of 1 Envoy" in view


async def test_history_compares_any_two(session: aiohttp.ClientSession) -> None:
    """Line by line, and secrets never."""
    async with site(document(2)) as running:
        running.publish(document(3))
        running.publish(document(3, routes=[]))
        _, history = await fetched(session, running.url + "/history")
        _, diff = await fetched(session, running.url + "/history/diff?from=1&to=2")
        gone, text = await fetched(session, running.url + "/history/diff?from=1&to=99")

    assert (3, "served now") == (history.count('name="from"'), "served now" if "served now" in history else "")
    assert "service-0002" in diff
    assert 'class="plus">+name: service-0002' in diff
    assert (200, True) == (gone, "Not there" in text)


async def test_a_token_opens_a_session_for_reading_only(session: aiohttp.ClientSession) -> None:
    """A browser logs in once; what changes something wants the token itself."""
    async with site(document(), Protection("s3cret", is_loopback=True)) as running:
        asked, _ = await fetched(session, running.url + "/clients", Accept="text/html")
        refused, _ = await fetched(session, running.url + "/api/status")
        wrong = await session.post(running.url + "/login", data={"token": "guess"}, allow_redirects=False)
        right = await session.post(
            running.url + "/login", data={"token": "s3cret", "next": "//evil.example/"}, allow_redirects=False
        )
        cookie = right.headers["Set-Cookie"]
        entered, page = await fetched(session, running.url + "/clients")
        purge = await session.post(running.url + "/api/cache/purge", json={"all": True})
        removal = await session.delete(running.url + "/api/gateways/shop")

    assert (303, 401, 403) == (asked, refused, wrong.status)
    assert (303, "/") == (right.status, right.headers["Location"])
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Max-Age=43200"))
    assert (200, True) == (entered, "Log out" in page)
    assert (401, 401) == (purge.status, removal.status)
    assert "s3cret" not in cookie


def test_a_session_ends_and_cannot_be_made_up() -> None:
    """Nor be taken to another token."""
    now = 1000.0
    sessions = Sessions("token", clock=lambda: now)
    cookie = sessions.cookie()
    assert sessions.is_valid(cookie)
    end, _, proof = cookie.partition(".")
    for forged in ("", ".", f"{int(end) + 1}.{proof}", f"{end}.{proof[:-1]}0", f"{end}.", "x.y"):
        assert forged == cookie or not sessions.is_valid(forged)
    assert not Sessions("other", clock=lambda: now).is_valid(cookie)
    now += 13 * 3600
    assert not sessions.is_valid(cookie)


async def test_other_sites_get_nothing(session: aiohttp.ClientSession) -> None:
    """Neither by another name for this machine (DNS rebinding) nor from a page in the same browser."""
    async with site(document()) as running:
        rebound, _ = await fetched(session, running.url + "/api/status", Host="evil.example")
        crossed, _ = await fetched(session, running.url + "/api/status", **{"Sec-Fetch-Site": "cross-site"})
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        followed, _ = await fetched(session, running.url + "/", **link)
        own, _ = await fetched(session, running.url + "/api/status", **{"Sec-Fetch-Site": "same-origin"})

    assert (403, 403, 200, 200) == (rebound, crossed, followed, own)


async def _event(answer: aiohttp.ClientResponse) -> Document:
    while True:
        line = (await answer.content.readline()).decode()
        if line.startswith("data: "):
            found: Document = orjson.loads(line.removeprefix("data: "))
            return found


async def test_only_what_has_changed_is_sent(session: aiohttp.ClientSession) -> None:
    """First all parts, then the rows that differ; another set of rows comes as a whole."""
    async with site(document(3)) as running, session.get(running.url + "/live?path=/services") as answer:
        first = await _event(answer)
        running.report("e1", 0.0)
        running.report("e1", 10.0, counters={"cluster.service-0002.upstream_rq_2xx": 70})
        second = await _event(answer)
        running.publish(document(4))
        third = await _event(answer)

    assert ["s-shop-service-0000", "s-shop-service-0001", "s-shop-service-0002"] == list(first["parts"])  # type: ignore[call-overload]
    assert ["s-shop-service-0002"] == list(second["parts"])  # type: ignore[call-overload]
    assert "7.0 /s" in str(second["parts"])
    assert ({}, True) == (third["parts"], "service-0003" in str(third["main"]))


async def test_viewers_are_bounded(session: aiohttp.ClientSession) -> None:
    """The control plane has more important things to do."""
    async with site(document()) as running:
        streams = [await session.get(f"{running.url}/live?path=/services&q={number}") for number in range(24)]
        refused = await session.get(f"{running.url}/live?path=/services&q=99")
        for stream in streams:
            stream.close()

    assert ({200}, 503) == ({stream.status for stream in streams}, refused.status)


async def test_a_long_list_has_pages_filters_and_an_order(session: aiohttp.ClientSession) -> None:
    """1,000 services stay usable."""
    async with site(document(120)) as running:
        running.report("e1", 0.0)
        running.report("e1", 1.0, counters={"cluster.service-0117.upstream_rq_2xx": 9})
        _, third = await fetched(session, running.url + "/services?page=3")
        _, found = await fetched(session, running.url + "/services?q=0042")
        _, busiest = await fetched(session, running.url + "/services?sort=-requests")
        _, beyond = await fetched(session, running.url + "/services?page=999999")

    assert "101–120 of 120 services" in third
    assert "1–1 of 1 service (120 in all)" in found
    assert busiest.index("service-0117") < busiest.index("service-0000")
    assert "Page 3 of 3" in beyond
