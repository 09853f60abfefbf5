"""Traces with a human label, for the quality of the heuristic judge.

Each file of `tests/support/labelled_traces` is one kind of task, with one trace a line:

    id, lang  a name, and the language of the request
    done      the label: whether the request was fulfilled, as a careful reader of the trace says
    ask, say  the request and the final answer
    steps     in order: {"call", "with", "gives", "fails"}, {"docs"}, or {"llm", "finish"}
    tools     the names of tools that were declared but not called
    status    of the trace, if it isn't COMPLETED

The traces are invented. A refusal doesn't fulfil a request, even if it is right, and neither does
an answer that leaks a key.

Rules are tuned on one half of each kind, and their quality is reported for the other half. The hash
of its id decides to which half a trace belongs, so that it stays there.

The halves aren't independent: the author of the rules wrote both halves before, and some requests
have a variant in the other half. So the reported half shows less than traces of others would.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.tracing.span import Span, SpanStatus
from domain.tracing.trace import TraceStatus
from tests.support.builders.evaluated_traces import model, offering, retrieval, subject, tool

FOLDER: Final = Path(__file__).parents[1] / "labelled_traces"
SECRETS: Final = {  # built here, so that the files contain nothing in the format of a key
    "<openai-key>": "sk-" + "proj" + "Q7w2Zk9Lx4Tb8Nv1Rm6Yc3" * 2,
    "<aws-key>": "AKIA" + "Q7W2ZK9LX4TB8NV1",
    "<jwt>": "eyJ" + "hbGciOiJIUzI1NiJ9." + "eyJ" + "zdWIiOiI0MiJ9." + "c2lnbmF0dXJlLXRoYXQtaXM",
}


class Half(StrEnum):
    TUNED = "tuned"  # the rules were written and weighted with these
    REPORTED = "reported"  # its scores were not used to write or weight the rules


@dataclass(frozen=True)
class LabelledTrace:
    kind: str
    id: str
    language: str
    is_done: bool
    source: dict[str, Any]

    @cached_property
    def half(self) -> Half:
        is_even = sha256(self.id.encode()).digest()[0] % 2 == 0
        return Half.TUNED if is_even else Half.REPORTED

    def trace(self) -> EvaluatedTrace:
        spans = [_span(step) for step in self.source["steps"]]
        if tools := self.source.get("tools"):
            spans.insert(0, offering(*({"name": name} for name in tools)))
        return subject(
            *spans,
            model(self.source["say"]),
            input=self.source["ask"],
            output=self.source["say"],
            status=TraceStatus(self.source.get("status", "COMPLETED")),
        )


def labelled_traces() -> Iterator[LabelledTrace]:
    """All labelled traces, by kind."""
    for file in sorted(FOLDER.glob("*.jsonl")):
        text = file.read_text(encoding="utf-8")
        for name, secret in SECRETS.items():
            text = text.replace(name, secret)
        for line in text.splitlines():
            one = json.loads(line)
            yield LabelledTrace(file.stem, one["id"], one["lang"], one["done"], one)


def _span(step: dict[str, Any]) -> Span:
    if "docs" in step:
        return retrieval(step["docs"])
    if "llm" in step:
        more = {"metadata": {"finish_reasons": [step["finish"]]}} if "finish" in step else {}
        return model(step["llm"], **more)
    failed = {"status": SpanStatus.ERROR, "error": step["fails"]} if "fails" in step else {}
    return tool(step["call"], step["with"], step.get("gives"), **failed)
