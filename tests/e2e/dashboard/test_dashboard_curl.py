"""What `Shift+C` copies in each view: a command that the service answers, without a secret."""

import os
import re
import shutil
import subprocess
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.dashboard_project import Project, show
from tests.e2e.dashboard.every_page import PAGES, fill, heading, link, text

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
MORE: Final = {
    **{tab: (f"data?tab={tab}", heading("Data")) for tab in ("retention", "erasures", "prices")},
    "queue": ("label?name=answered", heading("answered")),
    "archived": ("metrics?archived=1", heading("Metrics")),
    "of sessions": ("runs/new?of=sessions&metric=agent_consistency", text("sessions")),
    "edited": ("monitors/{monitor}?edit=1", text("match now")),
    "home": ("../../?all=1", heading("Projects")),
    "me": ("../../me", text("this one")),
    **{
        one: (f"../../o/{{organization}}/{one}", link("Audit log"))
        for one in (
            "members",
            "invitations",
            "keys",
            "projects",
            "limits",
            "costs",
            "sharing",
            "audit",
        )
    },
}
# Each copied command fails the script if the service refuses it.
SHELL: Final = 'set -e; curl() { command curl -sS --fail-with-body "$@"; }\n'


@pytest.mark.skipif(shutil.which("curl") is None, reason="what is copied is a curl")
@pytest.mark.exhaustive  # only another build can break it
def test_each_view_copies_its_question_as_curl(signed_in: Page, project: Project) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ids = fill(project) | {"organization": project.organization}
    environ = project.server.environ
    secrets = {name: environ[name] for name in ("PANDAPROBE_API_KEY", "PANDAPROBE_TOKEN")}
    commands = dict[str, str]()
    for view, (path, ready) in (PAGES | MORE).items():
        show(page, project, path.format_map(ids))
        expect(ready(main), view).to_be_visible()
        page.evaluate("navigator.clipboard.writeText('')")
        page.keyboard.press("Shift+C")
        expect(page.get_by_text("Copied as curl"), view).to_be_visible()
        commands[view] = page.evaluate("navigator.clipboard.readText()")
    refused = {}
    for view, command in commands.items():
        assert not [one for one in secrets.values() if one in command], view
        answer = subprocess.run(
            ["sh", "-c", SHELL + command],
            env=os.environ | secrets,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0 or not re.match(r"[\[{]", answer.stdout):
            refused[view] = f"{command}\n{answer.stdout}{answer.stderr}"
    assert refused == {}
    assert len(commands) == len(PAGES) + len(MORE)
