"""Facts of OpenTelemetry spans as JSON. Members with default values are left out."""

from dataclasses import MISSING, fields
from typing import Any, Final

import msgspec

from domain.tracing.otel.facts import SpanFacts
from domain.tracing.payloads.payload import JsonText


def _default(field: Any) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


_DEFAULTS: Final = [(field.name, _default(field)) for field in fields(SpanFacts)]
_decoder: Final = msgspec.json.Decoder(SpanFacts)


def encode_facts(facts: SpanFacts) -> JsonText:
    return msgspec.json.encode(
        {name: value for name, default in _DEFAULTS if (value := getattr(facts, name)) != default}
    )


def decode_facts(text: JsonText) -> SpanFacts:
    return _decoder.decode(text)
