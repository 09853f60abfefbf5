"""A setting that needs an extra is refused where the extra isn't installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.setting_checks import missing_extras
from entrypoints.settings import Settings

ROOT = Path(__file__).parents[2]
TRACED = Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:4318")

# As in an environment without the package that is the first argument.
WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from entrypoints.cli.main import main
sys.exit(main(sys.argv[1:], {"PANDAPROBE_OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}))
"""


def test_installed_extra_is_not_reported():
    assert list(missing_extras(TRACED, frozenset())) == []


@pytest.mark.parametrize("module", ["opentelemetry.sdk", "opentelemetry.exporter"])
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_exporting_spans_without_the_otel_packages_is_refused_at_start(module, command):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, command],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "PANDAPROBE_OTEL_EXPORTER_OTLP_ENDPOINT" in line
    assert "install pandaprobe-server[otel]" in line
