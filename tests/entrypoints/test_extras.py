"""A setting that needs an extra is refused where the extra isn't installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.setting_checks import missing_extras
from entrypoints.settings import Settings

ROOT = Path(__file__).parents[2]
COMPLETE = Settings(
    otel_exporter_otlp_endpoint="http://127.0.0.1:4318", otlp_grpc_port=4317, payload_bucket="b"
)

# As in an environment without the package that is the first argument. The next two are a setting.
WITHOUT = """
import sys
_, module, name, value, *arguments = sys.argv
sys.modules[module] = None
from entrypoints.cli.main import main
sys.exit(main(arguments, {name: value}))
"""
OTEL = ("PANDAPROBE_OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318", "otel")
GRPC = ("PANDAPROBE_OTLP_GRPC_PORT", "4317", "grpc")
S3 = ("PANDAPROBE_PAYLOAD_BUCKET", "blocks", "s3")


def test_installed_extra_is_not_reported():
    assert list(missing_extras(COMPLETE, frozenset())) == []


@pytest.mark.parametrize(
    ("command", "module", "setting"),
    [
        ("serve", "opentelemetry.sdk", OTEL),
        ("serve", "opentelemetry.exporter", OTEL),
        ("worker", "opentelemetry.sdk", OTEL),
        ("worker", "opentelemetry.exporter", OTEL),
        ("serve", "grpc", GRPC),
        ("serve", "obstore", S3),
        ("worker", "obstore", S3),
    ],
)
def test_setting_without_the_packages_of_its_extra_is_refused_at_start(command, module, setting):
    name, value, extra = setting
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, name, value, command],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert name in line
    assert f"pip install '.[{extra}]'" in line
