"""The documentation agrees with the code. tests/e2e runs the README."""

import re
from pathlib import Path

from adapters.otlp.mapping.flags import Flag
from domain.evaluation.agreement.calibration import (
    CANDIDATES_MAX,
    JUDGE_SCORES_PER_TRACE_MAX,
    JUDGED_MAX,
    JUDGES_MAX,
    LABELS_MAX,
    QUEUE_LENGTH_MAX,
)
from domain.evaluation.custom_metrics.checks import COMPUTED_CHECKS, SAME_AS_INPUT
from domain.evaluation.custom_metrics.custom_metric import (
    CUSTOM_METRICS_PER_RUN_MAX,
    DEFINITION_BYTES_PER_RUN_MAX,
    METRICS_MAX,
    REVISIONS_MAX,
)
from domain.evaluation.custom_metrics.parser import DEFINITION_MAX
from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX
from domain.evaluation.custom_metrics.rules import Operator
from domain.evaluation.evidence.template import PLACEHOLDERS
from domain.evaluation.judging.models import PROVIDERS
from domain.evaluation.metrics.metric import JudgeKind
from domain.evaluation.metrics.registry import METRIC_REGISTRY, SPANS_MAX
from domain.evaluation.runs.run import TARGETS_MAX
from domain.evaluation.runs.selection import BATCH_MAX
from domain.evaluation.scores.outcome import FailCode
from domain.evaluation.sessions.signals import SESSION_TRACES_MAX
from domain.evaluation.trace_content.language import Language
from domain.tracing.otel.requests import RejectionReason
from domain.tracing.otel.trace_state import TraceFlag
from domain.tracing.payloads.read_limit import READ_BYTES_MAX
from domain.tracing.usage import UsageRole
from entrypoints.settings import Settings, read_settings
from tests.support.problems import for_each

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "application", "adapters", "entrypoints")
DECISIONS = sorted((ROOT / "docs/adr").glob("*.md"))
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docker").rglob("README.md")),
    *sorted((ROOT / "clients").rglob("README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SECTIONS = ["Context", "Decision", "Consequences", "When to revisit", "Enforced by"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1].strip()


@for_each(PAGES, relative)
def test_paths_that_pages_name_exist(path):
    text = path.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []
    mentioned = re.findall(
        r"`((?:\.ci|docs|tests|docker|clients|" + "|".join(PACKAGES) + r")/[\w./-]*)`", text
    )
    assert [name for name in mentioned if not (ROOT / name).exists()] == []


# Variables that zsh, the shell of macOS, gives a meaning: a program that sets `path` finds no
# command any more, and `status` can't be set.
ZSH_VARIABLES = (
    *("argv", "commands", "fpath", "functions", "history", "options", "path", "prompt", "status"),
)


@for_each(PAGES, relative)
def test_commands_of_pages_set_no_variable_of_zsh(path):
    blocks = re.findall(r"^```sh\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    assert re.findall(rf"\b(?:{'|'.join(ZSH_VARIABLES)})=\S*", "\n".join(blocks)) == []


def without_blocks(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings(path: Path) -> set[str]:
    """What links to the headings of a page have after `#`."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(path), re.MULTILINE)
    shown = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in shown}


@for_each(PAGES, relative)
def test_headings_that_pages_link_to_exist(path):
    linked = re.findall(r"\]\(([\w./-]*\.md)?#([^)]+)\)", path.read_text())
    pages = {name: path.parent / name if name else path for name, _ in linked}
    assert [one for one in linked if one[1] not in headings(pages[one[0]])] == []


@for_each(PAGES, relative)
def test_rows_of_tables_stand_below_a_head(path):
    """Otherwise they are shown as text, as after a blank line."""
    lines = ["", *without_blocks(path).splitlines(), ""]
    first = [n for n, line in enumerate(lines) if line[:1] == "|" != lines[n - 1][:1]]
    assert [lines[n] for n in first if not re.match(r"\|[ :|-]+\|$", lines[n + 1])] == []


@for_each(DECISIONS, relative)
def test_decision_has_all_sections_and_names_its_tests(path):
    text = path.read_text()
    assert text.startswith(f"# {path.name[:4]}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert re.search(r"`(tests/|pyproject)", section(text, "Enforced by"))


def test_decisions_are_numbered_without_a_gap():
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_decisions_that_the_code_names_exist():
    mentioned = {
        number
        for folder in (*PACKAGES, "tests")
        for path in (ROOT / folder).rglob("*.py")
        for number in re.findall(r"(?:docs/adr/|ADR )(\d{4})", path.read_text())
    }
    assert mentioned <= {path.name[:4] for path in DECISIONS}


def test_pages_that_the_code_names_exist():
    mentioned = {
        name
        for folder in (*PACKAGES, "tests")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", path.read_text())
    }
    assert [name for name in sorted(mentioned) if not (ROOT / name).exists()] == []


def test_index_lists_every_page():
    text = (ROOT / "docs/README.md").read_text()
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", text))
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    chapters = {"adr", "guide"}  # which have lists of their own
    wanted = {path.as_posix() for path in pages if path.parts[0] not in chapters}
    assert wanted - {"README.md"} == listed - {"guide/README.md"}


def test_licence_matches_package_metadata():
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_metric_is_documented():
    page = (ROOT / "docs/evaluation/metrics.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    listed = {one.name for one in METRIC_REGISTRY.values() if one.is_listed}
    assert rows - set(JudgeKind) == listed


def test_custom_metric_definitions_are_documented_completely():
    page = (ROOT / "docs/evaluation/custom-metrics.md").read_text()
    types = re.findall(r"^\| `(\w+)` \|", section(page, "A measure: `measured`"), re.MULTILINE)
    assert types == [*dict.fromkeys(types)]
    assert set(types) == set(COMPUTED_CHECKS)
    row = page.partition("| `language`: ")[2].partition("|")[0]
    assert set(re.findall(r"`(\w+)`", row)) == {*Language, SAME_AS_INPUT}
    rows = section(page, "A rule: `rule`").partition("| `op` |")[2]
    ops = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", rows, re.MULTILINE)
    assert {op for row in ops for op in re.findall(r"\w+", row)} == set(Operator)
    assert set(re.findall(r"\{\{(\w+)\}\}", page)) == set(PLACEHOLDERS)
    bounds = (
        METRICS_MAX,
        REVISIONS_MAX,
        DEFINITION_MAX,
        DEFINITION_BYTES_PER_RUN_MAX,
        CUSTOM_METRICS_PER_RUN_MAX,
    )
    numbers = re.findall(r"[\d,]*\d{2}\b", section(page, "Bounds"))
    assert [int(one.replace(",", "")) for one in numbers] == [*bounds, PATTERN_MAX, TEXT_MAX]


def test_every_provider_and_judge_failure_is_documented():
    page = (ROOT / "docs/evaluation/judges.md").read_text()
    assert {one.prefix for one in PROVIDERS} <= set(re.findall(r"`(\w+/)", page))
    rows = set(re.findall(r"^\| `(\w+)` \|", section(page, "What errors mean"), re.MULTILINE))
    assert rows == set(FailCode) - {FailCode.TARGET_GONE, FailCode.INTERNAL}


def test_documented_bounds_of_evaluation_match_code():
    page = section((ROOT / "docs/evaluation/metrics.md").read_text(), "Bounds")
    bounds = (SPANS_MAX, READ_BYTES_MAX >> 20, SESSION_TRACES_MAX, TARGETS_MAX, BATCH_MAX)
    assert [int(one.replace(",", "")) for one in re.findall(r"[\d,]*\d{3}\b", page)] == [*bounds]


def test_documented_bounds_of_agreement_match_code():
    page = section((ROOT / "docs/evaluation/agreement.md").read_text(), "Bounds")
    bounds = (
        LABELS_MAX,
        JUDGED_MAX,
        JUDGE_SCORES_PER_TRACE_MAX,
        JUDGES_MAX,
        CANDIDATES_MAX,
        QUEUE_LENGTH_MAX,
    )
    assert [int(one.replace(",", "")) for one in re.findall(r"[\d,]*\d{2}\b", page)] == [*bounds]


def test_opentelemetry_flags_roles_and_reasons_are_documented():
    page = (ROOT / "docs/tracing/opentelemetry.md").read_text()
    for title, documented in (
        ("Traces from spans", {*Flag, *TraceFlag}),
        ("Tokens and cost", set(UsageRole)),
        ("Rejections", set(RejectionReason)),
    ):
        rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section(page, title), re.MULTILINE)
        assert {one for row in rows for one in re.findall(r"\w+", row)} == documented, title


def test_opentelemetry_settings_are_documented_with_their_defaults():
    page = section((ROOT / "docs/tracing/opentelemetry.md").read_text(), "Limits")
    rows = re.findall(r"^\| `PANDAPROBE_(OTLP_\w+)` \| ([\d,]+)( MiB)? \|", page, re.MULTILINE)
    documented = {
        name.lower(): int(number.replace(",", "")) * (1 << 20 if unit else 1)
        for name, number, unit in rows
    }
    defaults = read_settings({})
    assert documented == {
        field: getattr(defaults, field)
        for field in Settings.__struct_fields__
        if field.startswith("otlp_") and field != "otlp_grpc_port"  # which has none, and no limit
    }
