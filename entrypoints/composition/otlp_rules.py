"""How fragments of OpenTelemetry are read, for every adapter that stores them."""

from adapters.otlp.decoding.stored import decode_sent, encode_sent
from adapters.otlp.mapping.rules import MAPPING_VERSION
from adapters.otlp.mapping.spans import map_span
from application.tracing.otlp.ports import FragmentRules


def fragment_rules() -> FragmentRules:
    """How fragments of OpenTelemetry become spans, and how they are stored."""
    return FragmentRules(map_span, encode_sent, decode_sent, MAPPING_VERSION)
