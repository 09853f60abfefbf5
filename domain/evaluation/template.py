"""What a run of one metric would be, filled with the defaults: a form to be changed and sent."""

from dataclasses import dataclass, field

from domain.evaluation.metric import Metric
from domain.evaluation.question import Stage, prompt_preview
from domain.evaluation.selection import SAMPLING_RATE_DEFAULT, TraceSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTemplate:
    """A run over traces with no condition set; what is really asked stands in `prompt_preview`."""

    metric: Metric
    model: str
    prompt_preview: tuple[Stage, ...]
    filters: TraceSelection = field(default_factory=TraceSelection)
    sampling_rate: float = SAMPLING_RATE_DEFAULT


def run_template(metric: Metric, model: str) -> RunTemplate:
    """The template of a metric of traces; `model` is the default judge."""
    return RunTemplate(metric=metric, model=model, prompt_preview=prompt_preview(metric))
