"""No library logs what is secret of the requests that the product sends."""

import asyncio
import subprocess
import sys

import pytest

from tests.entrypoints.test_terminal_logs import ROOT, environ
from tests.support.fakes.webhook_receivers import OK, receiver

SEND = """
import asyncio, os, sys
from adapters.webhook_sender import HttpWebhookSender, SystemResolver
from entrypoints.observability import logs
from entrypoints.settings import read_settings
from tests.support.builders.values import NOON
from tests.support.fixtures.evaluation.alerts import a_delivery, a_webhook
from tests.support.fixtures.data_plane import project

logs.configure(read_settings(os.environ))
webhook = a_webhook(project(), url=sys.argv[1])
sender = HttpWebhookSender(SystemResolver(), lambda _: True, allow_private=True)
print(asyncio.run(sender.send(a_delivery(webhook), webhook, NOON)).status)
"""


@pytest.mark.parametrize(
    "level",
    # With DEBUG, all is logged that is with INFO.
    [pytest.param("INFO", marks=pytest.mark.exhaustive), "DEBUG"],
)
async def test_url_of_a_webhook_is_not_logged(level):
    async with receiver(answer=OK) as there:
        sent = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SEND, there.url("/services/secret", host="127.0.0.1")],
            capture_output=True,
            cwd=ROOT,
            env=environ(PANDAPROBE_LOG_LEVEL=level),
            text=True,
            check=True,
        )
    assert sent.stdout == "204\n"
    assert "secret" not in sent.stderr
