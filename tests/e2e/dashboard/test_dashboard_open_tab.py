"""A tab that stays open: over an upgrade, an outage, another account's sign-in, and for hours."""

from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.dashboard_project import FOLLOW, START, Project

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def listed(number: int) -> dict[str, Any]:
    """A trace with an id of its own, by its number."""
    started = START + timedelta(seconds=number)
    trace_id = f"00000000-0000-4000-8000-{number:012x}"
    return {"trace_id": trace_id, "name": f"trace {number}", "started_at": started.isoformat()}


@pytest.mark.exhaustive  # only another build can break it
def test_a_page_of_an_old_version_says_so_and_is_loaded_again(
    signed_in: Page, project: Project
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    project.send("/traces", listed(1) | {"status": "COMPLETED"})
    page.goto(project.path("traces"))
    expect(main.get_by_role("link", name="trace 1", exact=True)).to_be_visible()
    newer = '<script type="module" src="/app/assets/app-NEWER.js"></script>'
    page.route("**/app/assets/*", lambda route: route.fulfill(status=404))
    page.route("**/app", lambda route: route.fulfill(content_type="text/html", body=newer))
    for view in ("monitors", "../../?all=1"):
        page.evaluate(FOLLOW, project.path(view))
        expect(main.get_by_text("The dashboard was updated")).to_be_visible()
    page.unroute_all()
    main.get_by_role("button", name="Load the page again").click()
    expect(main.get_by_role("heading", name="Projects")).to_be_visible()
    expect(main.get_by_role("alert")).to_have_count(0)
    expect(main.get_by_role("button", name="New project …")).to_be_visible()
