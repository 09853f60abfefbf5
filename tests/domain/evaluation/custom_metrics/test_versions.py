"""Scores that other code computed have another fingerprint."""

import ast
import io
import tokenize
from hashlib import sha256
from pathlib import Path

import pytest

from domain.evaluation.custom_metrics import checks, rules, trace_path
from domain.evaluation.custom_metrics.checks import CHECK_VERSIONS, COMPUTED_CHECKS
from domain.evaluation.custom_metrics.parser import FIRST_VERSION, versioned
from domain.evaluation.metrics.metric import is_rule_fingerprint
from domain.evaluation.trace_content import json_schema, language

# A change of this code changes its hash. If it computes another result for some trace, raise
# CHECK_VERSIONS of the checks that do, or RULE_VERSION; then pin the new hash in either case.
PINNED = {
    checks: "291566757414",
    rules: "1e6f5b96045b",
    trace_path: "aa219a2267b4",
    json_schema: "a7f4e0404658",
    language: "75499bc949d5",
}
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
}


def code_hash(source: str) -> str:
    """The hash of the tokens, without comments, layout and docstrings."""
    prose = {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    tokens = [
        one.string
        for one in tokenize.generate_tokens(io.StringIO(source).readline)
        if one.type not in LAYOUT and one.start not in prose
    ]
    return sha256("\n".join(tokens).encode()).hexdigest()[:12]


@pytest.mark.parametrize("module", PINNED, ids=lambda one: one.__name__.rpartition(".")[2])
def test_code_of_custom_metrics_is_pinned(module):
    assert code_hash(Path(module.__file__).read_text()) == PINNED[module]


def test_hash_is_of_code_alone():
    one = code_hash('def f(x):\n    """It adds."""\n    return x + 1\n')
    assert one == code_hash('def f(x):  # more\n\n    """Adds."""\n    return x + 1\n')
    assert one != code_hash("def f(x):\n    return x + 2\n")


def test_another_version_has_another_fingerprint():
    assert versioned("measured/json_valid", FIRST_VERSION) == "measured/json_valid"
    assert versioned("measured/json_valid", 2) == "measured/json_valid/2"
    assert not is_rule_fingerprint(f"{versioned('rule', 2)}/0123456789abcdef")
    assert CHECK_VERSIONS.keys() <= COMPUTED_CHECKS.keys()
