"""Possible faults in the spans that a project receives."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Final

LOOK_BACK: Final = timedelta(days=1)
NEWEST_SPANS_MAX: Final = 1_000


class IngestionWarning(StrEnum):
    NATIVE_AND_OTLP = "native_and_otlp"

    @property
    def message(self) -> str:
        return (
            "Spans of the last day came both through POST /traces and by OpenTelemetry. "
            "A call that is sent both ways counts twice: its tokens and its cost too. "
            "Send each call one way."
        )


def ingestion_warnings(*, are_sources_mixed: bool) -> Sequence[IngestionWarning]:
    return [IngestionWarning.NATIVE_AND_OTLP] if are_sources_mixed else []
