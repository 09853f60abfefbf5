"""The specs of all operations. A new chapter is added here."""

from collections import Counter
from typing import Final

from tests.support.endpoints import (
    browser_sessions,
    cli_login,
    costs,
    datasets,
    erasures,
    experiments,
    exports,
    metrics,
    monitors,
    organizations,
    otlp,
    pricing,
    runs,
    scores,
    service,
    sessions,
    sharing,
    traces,
)
from tests.support.endpoints.spec import EndpointSpec, MemberRoles, SignedIn

CHAPTERS: Final = (
    *(
        browser_sessions,
        cli_login,
        costs,
        datasets,
        erasures,
        experiments,
        exports,
        metrics,
        monitors,
        organizations,
    ),
    *(otlp, pricing, runs, scores, service, sessions, sharing, traces),
)
ENDPOINTS: Final[tuple[EndpointSpec, ...]] = tuple(
    spec for chapter in CHAPTERS for spec in chapter.ENDPOINTS
)
BY_OPERATION: Final = {spec.operation: spec for spec in ENDPOINTS}
REQUESTS: Final = tuple(request for spec in ENDPOINTS for request in spec.requests())
"""Every spec, followed by its variants."""

DATA_PLANE: Final = tuple(spec for spec in ENDPOINTS if spec.is_data_plane)
READS: Final = tuple(spec.path for spec in DATA_PLANE if spec.shows_state)
"""Paths that together show what a project has stored."""
MEMBER_REQUESTS: Final = tuple(one for one in REQUESTS if isinstance(one.access, MemberRoles))
SIGNED_IN_REQUESTS: Final = tuple(one for one in REQUESTS if isinstance(one.access, SignedIn))

assert len(BY_OPERATION) == len(ENDPOINTS), Counter(one.operation for one in ENDPOINTS).most_common(
    1
)


def operation_of(value: object) -> str:
    """The id of a test case that has a spec as its parameter."""
    return value.operation if isinstance(value, EndpointSpec) else str(value)
