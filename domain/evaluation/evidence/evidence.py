"""Evidence: the part of a trace that a judge reads, its text form, and its hash.

`domain/evaluation/evidence/builder.py` builds it from a trace.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Final

from domain.evaluation.evidence.features import TraceFeatures
from domain.evaluation.evidence.redaction import estimate_tokens, quote_lines
from domain.evaluation.evidence.template import render_template, shows_steps
from domain.evaluation.trace_content.messages import canonical_json, decode_embedded_json

OUTCOME_MAX: Final = 500  # characters of the final output in the details of a score
PARAMETERS_MAX: Final = 500  # characters of the arguments of a call
LISTED_MAX: Final = 100  # calls, or tools
BUILDER_VERSION: Final = 3  # increase it with every change of selection, truncation or redaction
_BOUNDARY: Final = re.compile(r"[0-9a-f]{16}")
_NONE: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A span as a judge sees it: without ids and instants, but with order, duration and texts.

    `label` is the position in the tree: `s2.1` is the first step inside the second. Texts are "" if
    there are none, or if they were cut to fit the budget.
    """

    label: str
    kind: str
    name: str
    status: str
    duration_ms: int | None = None
    error: str = ""
    model: str = ""
    arguments: str = ""
    output: str = ""
    documents: tuple[str, ...] = ()
    text: str = ""
    reasoning: str = ""

    def printed(self, *, reasoning: bool) -> str:
        head = [self.label, self.kind, _line(self.name)]
        if self.model:
            head.append(f"model {_line(self.model)}")
        head.append(self.status)
        if self.duration_ms is not None:
            head.append(f"{self.duration_ms} ms")
        parts = [
            ("error", self.error),
            ("arguments", self.arguments),
            ("output", self.output),
            *(("document", document) for document in self.documents),
            ("reasoning", self.reasoning if reasoning else ""),
            ("text", self.text),
        ]
        return "\n".join([" ".join(head), *(_part(name, text) for name, text in parts if text)])


@dataclass(frozen=True, slots=True)
class OmittedSteps:
    """A range of steps that were omitted to fit the budget, by first and last label."""

    first: str
    last: str
    steps: int
    failed: int = 0

    def printed(self, *, reasoning: bool) -> str:
        del reasoning  # only steps have it
        which = self.first if self.first == self.last else f"{self.first}–{self.last}"  # noqa: RUF001 - a range
        failed = f", {self.failed} of them failed" if self.failed else ""
        return f"{which}: {self.steps} {'step' if self.steps == 1 else 'steps'} left out{failed}"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that was declared to the agent."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Counts over the whole trace, including omitted steps."""

    steps: int = 0
    calls: int = 0
    failed_calls: int = 0
    repeated_calls: int = 0  # with the request and output of an earlier call
    longest_block: int = 0  # adjacent identical calls
    open_steps: int = 0  # without an end

    def printed(self) -> str:
        return (
            f"{self.steps} steps, {self.open_steps} of them without an end; "
            f"{self.calls} tool calls: {self.failed_calls} failed, "
            f"{self.repeated_calls} repeated an earlier one, "
            f"at most {self.longest_block} equal ones in a row"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The text that a judge reads about a trace, the same for all metrics. All texts are redacted.

    `truncated` tells whether anything was cut or omitted; `omitted_steps` counts omitted steps.
    `signs` are features for the heuristic judge and aren't printed. `expected` is what the item of
    a dataset expects; only a template prints it. With a `template`, only its parts are printed.
    """

    task: str
    final_output: str
    status: str
    declared_tools: tuple[Tool, ...] = ()
    plan: tuple[str, ...] = ()
    facts: RunFacts = RunFacts()
    signs: TraceFeatures = field(default_factory=TraceFeatures)
    steps: tuple[Step | OmittedSteps, ...] = ()
    truncated: bool = False
    omitted_steps: int = 0
    expected: str = ""
    template: str = ""

    @property
    def labels(self) -> frozenset[str]:
        """The labels that a judge may cite."""
        return frozenset(step.label for step in self._shown if isinstance(step, Step))

    @property
    def calls(self) -> Sequence[Step]:
        """The tool calls that are shown, in tree order."""
        return [one for one in self._shown if isinstance(one, Step) and one.kind == "TOOL"]

    @property
    def _shown(self) -> Sequence[Step | OmittedSteps]:
        return self.steps if not self.template or shows_steps(self.template) else ()

    @property
    def hash(self) -> str:
        """64 hex digits, equal for equal content; independent of ids, instants and boundary."""
        held = {**asdict(self), "builder": BUILDER_VERSION}
        for optional in ("template", "expected"):
            if not held[optional]:
                del held[optional]
        return sha256(canonical_json(held).encode()).hexdigest()

    @property
    def tokens(self) -> int:
        """The estimated tokens of the longest text form."""
        return estimate_tokens(self.text())

    def marks(self) -> dict[str, object]:
        """The entries for the metadata of a score."""
        return {
            "evidence_hash": self.hash,
            "truncated": self.truncated,
            "omitted_steps": self.omitted_steps,
        }

    def text(self, *, reasoning: bool = True, output: bool = True) -> str:
        """The text form. Lines with text of the trace have a prefix or are quoted.

        So no text of a trace can imitate a line of the service. Without `reasoning` the agent's
        reasoning is left out, without `output` the final output.
        """
        if self.template:
            return render_template(self.template, self._parts(reasoning=reasoning))
        parts = [_part("task", self.task)]
        if output:
            parts.append(_part("final output", self.final_output))
        parts.append(f"status of the run: {self.status}")
        parts.append(f"counted: {self.facts.printed()}")
        lists = self._lists(reasoning=reasoning)
        if self.declared_tools:
            parts += ["declared tools:", *lists["tools"]]
        if self.plan:
            parts += ["plan:", *lists["plan"]]
        return "\n".join([*parts, "steps:", *lists["steps"]])

    def _parts(self, *, reasoning: bool) -> Mapping[str, str]:
        """The value of each template placeholder, printed as in a text without template."""
        lists = self._lists(reasoning=reasoning).items()
        return {
            "task": quote_lines(self.task),
            "final_output": quote_lines(self.final_output),
            "expected": quote_lines(self.expected),
            "status": self.status,
            "facts": self.facts.printed(),
            **{name: "\n".join(lines) or _NONE for name, lines in lists},
        }

    def _lists(self, *, reasoning: bool) -> Mapping[str, Sequence[str]]:
        return {
            "tools": [_tool(tool) for tool in self.declared_tools],
            "plan": [f"{n}. {_line(item)}" for n, item in enumerate(self.plan, 1)],
            "steps": [step.printed(reasoning=reasoning) for step in self.steps],
        }

    def within_boundary(self, boundary: str, *, reasoning: bool = True, output: bool = True) -> str:
        """The text between two lines with `boundary`, 16 hex digits unknown to the trace's author.

        One boundary is used for all metrics of a target, so that prompts share a prefix that
        providers can cache. Raises ValueError for another format.
        """
        if _BOUNDARY.fullmatch(boundary) is None:
            raise ValueError("a boundary is 16 hex digits")
        text = self.text(reasoning=reasoning, output=output)
        return f"evidence {boundary}\n{text}\nend of evidence {boundary}"


def _part(name: str, text: str) -> str:
    return f"{name}:\n{quote_lines(text)}"


def _line(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _tool(tool: Tool) -> str:
    described = f": {_line(tool.description)}" if tool.description else ""
    return f"- {_line(tool.name)}{described}"


# --- details of a judged score: excerpts of what the judge read --------------------------------


type ScoreDetails = dict[str, object]


def score_details(metric: str, evidence: Evidence) -> ScoreDetails:
    """The metric-specific metadata of a score, redacted; {} for most metrics."""
    build_details = _DETAILS.get(metric)
    return build_details(evidence) if build_details else {}


def _tools(evidence: Evidence) -> ScoreDetails:
    return {
        "user_input": evidence.task,
        "tools_called": [
            {"name": call.name, "parameters": _parameters(call.arguments)}
            for call in evidence.calls[:LISTED_MAX]
        ],
        "available_tools": [
            {"name": tool.name, "description": tool.description}
            for tool in evidence.declared_tools[:LISTED_MAX]
        ],
    }


def _parameters(arguments: str) -> object:
    """The arguments as JSON if they are short, otherwise the beginning of their text."""
    if not arguments:
        return {}
    if len(arguments) > PARAMETERS_MAX:
        return _cut(arguments, PARAMETERS_MAX)
    return decode_embedded_json(arguments)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


_DETAILS: Final[Mapping[str, Callable[[Evidence], ScoreDetails]]] = {
    "argument_correctness": lambda it: {"user_input": it.task},
    "plan_adherence": lambda it: {"task": it.task, "plan": list(it.plan)},
    "plan_quality": lambda it: {"task": it.task, "plan": list(it.plan)},
    "step_efficiency": lambda it: {"task": it.task},
    "task_completion": lambda it: {"task": it.task, "outcome": _cut(it.final_output, OUTCOME_MAX)},
    "tool_correctness": _tools,
}
