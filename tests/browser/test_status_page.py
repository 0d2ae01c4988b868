"""What operators do with the status page, in Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from control_plane.admin.http import Protection
from control_plane.analytics.page import page as usage_page
from control_plane.analytics.web import PAGE_HEADERS
from tests.browser.conftest import Open
from tests.feature.dashboard.site import PATHS, Site, document
from tests.feature.dashboard.test_hostile_clients import HOSTILE
from tests.unit.control_plane.analytics.reports import empty_report, usage_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, BrowserContext, Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]
SIZES = {"wide": (1440, 900), "narrow": (360, 740)}


@contextmanager
def watched(context: "BrowserContext") -> "Iterator[BrowserContext]":
    """Fails for anything that goes wrong on its pages: errors of scripts, what the policy blocks, what is not there."""
    troubles: list[str] = []
    context.set_default_timeout(30_000)
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    yield context
    context.close()
    assert [] == troubles


@pytest.fixture(params=["light", "dark"])
def context(request: pytest.FixtureRequest, browser: "Browser", open_site: Open) -> "Iterator[BrowserContext]":
    """A fresh one, in both colour schemes; ends before its site."""
    del open_site
    with watched(browser.new_context(color_scheme=request.param)) as opened:
        yield opened


@pytest.fixture
def page(browser: "Browser", open_site: Open) -> "Iterator[Page]":
    """Of a screen's size; ends before its site."""
    del open_site
    with watched(browser.new_context(viewport={"width": 1440, "height": 900})) as opened:
        yield opened.new_page()


def _busy(running: Site) -> None:
    gauges = {
        "cluster.service-0001.endpoint.10.0.0.2_8080.healthy": 0,
        "cluster.service-0001.membership_total": 1,
        "cluster.service-0001.membership_healthy": 0,
    }
    for moment in (0, 10):
        running.report(
            "e1",
            float(moment),
            gauges=gauges,
            counters={
                "http.public.downstream_rq_2xx": 400 * moment,
                "cluster.service-0000.upstream_rq_2xx": 9 * moment,
            },
        )
    for moment in range(3):
        running.traffic.sample(1_800_000_000.0 + 5 * moment)


@pytest.mark.parametrize("size", SIZES)
def test_pages_are_accessible_and_fit(context: "BrowserContext", open_site: Open, size: str) -> None:
    """axe-core finds nothing on any page, and nothing is wider than the screen."""
    running = open_site(document(60))
    _busy(running)
    page = _sized(context, size)
    found = []
    for path in PATHS:
        page.goto(running.url + path)
        found += _flaws(page, path)

    assert [] == found


@pytest.mark.parametrize("size", SIZES)
def test_pages_without_anything_to_show(context: "BrowserContext", open_site: Open, size: str) -> None:
    """A gateway without services, routes and clients; what is said then is accessible too."""
    running = open_site(document(0))
    page = _sized(context, size)
    found = []
    for path in ("/", "/clients", "/services", "/routes", "/history", "/services/view?name=none"):
        page.goto(running.url + path)
        found += _flaws(page, path)

    assert [] == found


@pytest.mark.parametrize("size", SIZES)
def test_the_usage_page_is_accessible_and_fits(context: "BrowserContext", size: str) -> None:
    """With the headers that the analytics process sends."""
    page = _sized(context, size)
    for name, made in (("full", usage_report()), ("empty", empty_report())):
        page.unroute_all()
        page.route("**/*", _answering(usage_page(made)))
        page.goto(f"http://usage.test/{name}")
        assert [] == _flaws(page, name)


def _answering(text: str) -> "Callable[[Route], None]":
    """The page for every path, an icon that nobody has included."""
    return lambda route: route.fulfill(body=text, content_type="text/html", headers=PAGE_HEADERS)


def _sized(context: "BrowserContext", size: str) -> "Page":
    page = context.new_page()
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    return page


def _flaws(page: "Page", where: str) -> list[tuple[str, str, str]]:
    """What axe-core finds on it, and whether it is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(page)
    found = [(where, one["id"], one["nodes"][0]["html"][:200]) for one in results.response["violations"]]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append((where, "overflow", page.url))
    return found


def test_numbers_arrive_without_loading_again(page: "Page", open_site: Open) -> None:
    """By server-sent events; what has the focus keeps it."""
    running = open_site(document(3))
    page.goto(running.url + "/services")
    page.wait_for_selector("#live[data-state=on]")
    link = page.locator("#s-shop-service-0002 a")
    link.focus()
    running.report("e1", 0.0)
    running.report("e1", 10.0, counters={"cluster.service-0002.upstream_rq_2xx": 70})
    page.get_by_text("7.0 /s").wait_for()

    assert "service-0002" == page.evaluate("document.activeElement.textContent")


def test_updates_can_be_paused(page: "Page", open_site: Open) -> None:
    """Whoever reads slowly, or is read to, decides when things move."""
    running = open_site(document(3))
    page.goto(running.url + "/services")
    page.wait_for_selector("#live[data-state=on]")
    pause = page.locator("#pause")
    pause.click()
    assert ("true", "paused") == (
        pause.get_attribute("aria-pressed"),
        page.locator("#live").get_attribute("data-state"),
    )
    running.report("e1", 0.0)
    running.report("e1", 10.0, counters={"cluster.service-0002.upstream_rq_2xx": 70})
    assert 0 == page.get_by_text("7.0 /s").count()
    pause.click()
    page.get_by_text("7.0 /s").wait_for()


def test_the_keyboard_is_enough(page: "Page", open_site: Open) -> None:
    """Skip link first; "/" goes to the filter; Enter filters; a row's link opens it."""
    running = open_site(document(60))
    page.goto(running.url + "/services")
    page.keyboard.press("Tab")
    assert "Skip to content" == page.evaluate("document.activeElement.textContent")
    page.keyboard.press("/")
    page.keyboard.type("0042")
    page.keyboard.press("Enter")
    page.wait_for_url("**/services?q=0042*")
    page.locator("tbody a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/services/view?*name=service-0042*")

    assert "service-0042" == page.locator("h1").inner_text()


def test_two_snapshots_are_compared(page: "Page", open_site: Open) -> None:
    """By choosing them."""
    running = open_site(document(2))
    running.publish(document(3))
    running.publish(document(3, rate_limits={"per-client": {"rate": "20/second", "key": ["client_ip"]}}))
    page.goto(running.url + "/history")
    page.get_by_label("from snapshot 1", exact=True).check()
    page.get_by_label("to snapshot 2", exact=True).check()
    page.get_by_role("button", name="Compare the two").click()

    assert "Snapshot 1 to 2" == page.locator("h1").inner_text()
    assert page.locator(".plus", has_text="name: service-0002").count()


def test_the_theme_is_remembered(page: "Page", open_site: Open) -> None:
    """Over pages; whatever the system's is."""
    running = open_site(document(2))
    page.goto(running.url + "/")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    page.goto(running.url + "/routes")

    assert before != page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "dark" == page.evaluate("document.documentElement.dataset.theme")


def test_a_token_is_asked_for_once(page: "Page", open_site: Open) -> None:
    """Then the page that was wanted is there, live."""
    running = open_site(document(2), Protection("s3cret", is_loopback=True))
    page.goto(running.url + "/routes")
    page.get_by_label("Token").fill("s3cret")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/routes")
    page.wait_for_selector("#live[data-state=on]")
    page.get_by_role("link", name="Log out").click()
    page.wait_for_url("**/login")


def test_markup_in_values_is_text(page: "Page", open_site: Open) -> None:
    """In the first page and in what comes later; the browser runs nothing of it."""
    running = open_site(document(2))
    page.goto(running.url + "/services?q=%3Cimg%20src=x%20onerror=document.title=1%3E")
    page.wait_for_selector("#live[data-state=on]")

    assert "Services · Gateway" == page.title()
    assert 0 == page.locator("main img").count()


@pytest.mark.parametrize("kind", HOSTILE)
def test_clients_with_hostile_names_harm_no_layout(page: "Page", open_site: Open, kind: str) -> None:
    """Nothing runs, nothing is wider than the screen; the name stands there."""
    running = open_site(document(2))
    name = HOSTILE[kind]
    running.store.refusals.note(
        node=name, cluster=name, peer="ipv4:10.0.0.1:1", reason=f"{name} is not let in", now=running.store.clock()
    )
    for path in ("/", "/clients"):
        page.goto(running.url + path)
        page.wait_for_selector("#live[data-state=on]")
        assert "owned" != page.title()
        assert 0 == page.locator("main img").count()
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert page.get_by_text("not let in").count()


def test_a_thousand_services_stay_usable(page: "Page", open_site: Open) -> None:
    """A page of 50 rows and no more; a filter reaches any of them."""
    running = open_site(document(1000))
    page.goto(running.url + "/services?sort=-requests")
    assert 50 == page.locator("tbody tr").count()
    assert page.evaluate("document.querySelectorAll('*').length") < 4000
    page.locator("#q").fill("0987")
    page.keyboard.press("Enter")
    page.get_by_text("1–1 of 1 service (1,000 in all)").wait_for()
