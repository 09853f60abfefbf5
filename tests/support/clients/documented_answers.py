"""Shared by the tests of documented responses, in process and over a running service."""

from typing import Any, Final

from schemathesis.checks import CHECKS, load_all_checks

from domain.plain_text import made_plain
from tests.support.endpoints.spec import EndpointSpec
from tests.support.endpoints.templates import Words, filled

# Acceptance of valid data isn't checked: a schema can't say which cursors and ids exist.
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Fields of bodies that name a stored object.
NAMED: Final = {"trace_id", "span_id", "session_id", "org_id", "project_id", "code"}
# Fields that can't contain invisible characters; no schema can say which those are.
PLAIN: Final = {"name", "label"}
# Optional fields that would have to fit to other fields, and values that always fit.
FITTING_VALUES: Final[dict[str, Any]] = {
    "data_type": "NUMERIC",
    "filters": {},
    "votes": 1,
    "max_cost_usd": None,
    "signal_weights": None,
    "clear_at": None,
}


def response_checks() -> list[Any]:
    load_all_checks()
    return [CHECKS.get_one(name) for name in CHECKED]


def acceptable_body(body: dict[str, Any], spec: EndpointSpec, words: Words) -> dict[str, Any]:
    """A valid body, changed so that the operation accepts it and finds what it names."""
    accepted = {name: value for name, value in body.items() if name not in spec.excluded}
    accepted |= {name: words[name] for name in body.keys() & NAMED & words.keys()}
    accepted |= {name: value for name, value in FITTING_VALUES.items() if name in body}
    if not spec.path.startswith("/traces"):  # which keep names as programs send them
        accepted |= {
            name: made_plain(body[name]) or "n"
            for name in PLAIN & body.keys()
            if isinstance(body[name], str)
        }
    for name in spec.constrained:
        # A change may leave out each field, which generated bodies also try.
        if name in body or spec.method != "PATCH":
            accepted[name] = filled(spec.body[name], words)
    return accepted
