"""Lazy imports: processes load large libraries only if they use them."""

import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.composition.export_formats import missing_formats
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.slow  # starts processes that import large libraries

ROOT = Path(__file__).parents[2]
LARGE_LIBRARIES = ("pydantic_ai", "openai", "anthropic", "google.genai", "pyarrow")
EXPORTER = ("adapters.otlp_spans", "opentelemetry.sdk.trace", "opentelemetry.exporter")
PRICES = ("genai_prices", "pydantic")
MCP = ("mcp", "mcp_types", "starlette", "entrypoints.mcp")  # the command `mcp` alone
PROVIDER_CLIENT = ("httpx2", "authlib")  # asks an identity provider, once there is one
PROTOBUF = ("google.protobuf", "opentelemetry.proto")
MIGRATION_LIBRARIES = ("black", "piccolo.apps.migrations")
API_PROGRAM = """
import sys
from entrypoints.cli.main import main
from entrypoints.http.app import create_routes
from entrypoints.http.config import HttpConfig
from entrypoints.server import asgi, serve
from entrypoints.settings import Settings
asgi.App(Settings())
loaded = [name for name in sys.argv[1:] if name in sys.modules]
create_routes(HttpConfig(version="1", environment="test"))
print(loaded, "pydantic" in sys.modules)  # which Litestar would load here
"""

# Every provider is configured and fingerprinted, but gets no question.
WORKER_PROGRAM = """
import asyncio, sys
from entrypoints.cli.main import main
from entrypoints.composition import evaluation, root
from entrypoints.worker import worker
from entrypoints.settings import Settings
from domain.evaluation.judging.models import PROVIDERS
from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION

async def fingerprints():
    settings = Settings(
        openai_api_key="k", anthropic_api_key="k", gemini_api_key="k", google_cloud_project="p",
        openai_compatible_base_url="http://localhost:1/v1",
    )
    async with evaluation.open_judge(settings) as judge:
        names = [one.prefix + "1" for one in PROVIDERS]
        return {judge.fingerprint(TASK_COMPLETION, name) for name in names}

assert len(asyncio.run(fingerprints())) == len(PROVIDERS)
print([name for name in sys.argv[1:] if name in sys.modules])
"""
# An application that embeds the use cases needs none of what serves them.
EMBEDDING_PROGRAM = """
import sys
from adapters.memory.jobs import RecordedJobs
from application.use_cases import UseCases
from entrypoints.composition.memory import memory_ports
UseCases(memory_ports(jobs=RecordedJobs()))
print([name for name in sys.argv[1:] if name in sys.modules])
"""
# A question loads only the client of its provider. Prints what each of the providers adds.
CLIENTS_PROGRAM = """
import sys
from adapters.judges.clients import ModelClient
from adapters.judges.wire import Endpoint
known = set()
added = {}
for provider in sys.argv[1].split():
    ModelClient(Endpoint(provider=provider, api_key="k", base_url="http://localhost:1"))
    added[provider] = [name for name in sys.argv[2:] if name in sys.modules and name not in known]
    known.update(added[provider])
print(added)
"""
# Without the extra `parquet`: None in sys.modules makes the import fail.
PROGRAM_WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
from entrypoints.composition import export_formats
from domain.exports.export import FileFormat, RowKind
from uuid import UUID
for format_ in FileFormat:
    if format_ not in export_formats.missing_formats():
        encoder = export_formats.ENCODERS[format_](UUID(int=1), RowKind.TRACES)
        encoder.add([])
        encoder.end()
print([str(one) for one in export_formats.missing_formats()])
"""


def loaded(program: str, *arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=True,
    )
    return process.stdout.splitlines()[-1]


def test_api_loads_neither_model_clients_nor_worker_modules():
    heavy = (
        *LARGE_LIBRARIES,
        *EXPORTER,
        *PRICES,
        *PROTOBUF,
        *MIGRATION_LIBRARIES,
        *MCP,
        *PROVIDER_CLIENT,
        "dramatiq",
    )
    assert loaded(API_PROGRAM, *heavy, "litestar") == "['litestar'] False"


def test_worker_without_questions_loads_no_model_client():
    light = (*LARGE_LIBRARIES, *MIGRATION_LIBRARIES, *MCP, "litestar", "adapters.judges.model")
    assert loaded(WORKER_PROGRAM, *light) == "['adapters.judges.model']"


def test_use_cases_over_memory_load_no_server_driver_or_broker():
    served = ("litestar", "granian", "asyncpg", "piccolo", "redis", "dramatiq", "entrypoints.http")
    heavy = (*LARGE_LIBRARIES, *EXPORTER, *PRICES, *PROTOBUF, *served, "adapters.postgres")
    assert loaded(EMBEDDING_PROGRAM, *heavy, "adapters.memory") == "['adapters.memory']"


def test_other_formats_work_without_pyarrow():
    """The API and the worker don't load it."""
    assert loaded(PROGRAM_WITHOUT_PYARROW) == "['parquet']"
    assert missing_formats() == {}  # the test environment has it installed


@pytest.mark.exhaustive  # above, a worker without questions loads none of them
def test_client_of_provider_loads_no_other_client():
    providers = {
        "openai": ["pydantic_ai", "openai"],
        "openai_compatible": [],
        "anthropic": ["anthropic"],
        "gemini": ["google.genai"],
        "vertex_ai": [],
    }
    assert loaded(CLIENTS_PROGRAM, " ".join(providers), *LARGE_LIBRARIES) == str(providers)


def test_small_commands_load_no_other_adapters():
    """Those of the database alone, `token`, and `worker` with several processes."""
    others = ("application.use_cases", "redis", "prometheus_client", "litestar")
    commands = ("main", "migrations", "distribution", "secret_keys", "backups")
    modules = (*(f"cli.{name}" for name in commands), "provisioning", "worker.supervisor")
    program = "import sys\n" + "\n".join(f"import entrypoints.{name}" for name in modules)
    shown = f"{program}\nprint([name for name in sys.argv[1:] if name in sys.modules])"
    assert loaded(shown, *others, "asyncpg") == "['asyncpg']"
