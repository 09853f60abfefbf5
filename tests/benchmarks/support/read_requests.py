"""All reads that the benchmark of reads sends, as data.

A path contains names of values in braces, which `reads.py` fills in.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

type Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Read:
    """One row of the table. `walks`: follows `next_cursor` instead of repeating the request."""

    label: str
    path: str
    query: Query = ()
    walks: bool = False

    def target(self, values: dict[str, str]) -> str:
        """Returns path and query of a request with its values filled in."""
        query = [(name, text.format_map(values)) for name, text in self.query]
        path = self.path.format_map(values)
        return f"{path}?{urlencode(query)}" if query else path


BRACES = str.maketrans("{}", "<>")
DAY: Query = (("started_after", "{week_begins}"), ("started_before", "{day_ends}"))
WEEK: Query = (("started_after", "{week_begins}"), ("started_before", "{week_ends}"))
MONTH: Query = (("started_after", "{month_begins}"), ("started_before", "{month_ends}"))


def _filters(path: str, *filters: tuple[str, str]) -> list[Read]:
    return [
        Read(f"`{name}={text.translate(BRACES)}`", path, ((name, text),)) for name, text in filters
    ]


def _sorts(path: str, *names: str) -> list[Read]:
    return [
        Read(f"`sort_by={name}` {order}", path, (("sort_by", name), ("sort_order", order)))
        for name in names
        for order in ("desc", "asc")
    ]


PAGES = [
    Read("first page", "/traces"),
    Read("first page, `limit=200`", "/traces", (("limit", "200"),)),
    Read("page at offset 50,000 (or the middle)", "/traces", (("offset", "{deep}"),)),
    Read("cursor page 1,000 (or the middle)", "/traces", walks=True),
]
# Each filter with a frequent and a rare value, if there are such values.
FILTERS = [
    *_filters(
        "/traces",
        ("session_id", "{session}"),
        ("user_id", "{frequent_user}"),
        ("user_id", "{rare_user}"),
        ("environment", "production"),
        ("environment", "development"),
        ("release", "2.6.0"),
        ("release", "2.12.0"),
        ("status", "COMPLETED"),
        ("status", "ERROR"),
        ("status", "PENDING"),
        ("tags", "support"),
        ("tags", "incident"),
        ("name", "question"),
        ("name", "TRIP"),
        ("name", "100%"),
        ("model", "gpt-4o-mini"),
        ("model", "house-llama-70b"),
        ("model", "nobody-has-it"),
        ("min_latency_ms", "5000"),
        ("min_latency_ms", "120000"),
        ("max_latency_ms", "20000"),
        ("max_latency_ms", "800"),
        ("has_error", "true"),
        ("has_error", "false"),
        ("metadata.attempt", "1"),
        ("metadata.attempt", "3"),
        ("metadata.cached", "true"),
        ("metadata.customer", "Brightwater"),
        ("metadata.customer", "Dunlin"),
        ("metadata.unknown", "1"),
        ("not_environment", "production"),
        ("not_status", "COMPLETED"),
        ("not_user_id", "{frequent_user}"),
        ("not_tags", "support"),
        ("not_name", "question"),
        ("not_model", "gpt-4o-mini"),
        ("not_metadata.customer", "Brightwater"),
    ),
    Read("tags, any of two", "/traces", (("tags", "canary"), ("tags", "incident"))),
    Read("a tag and a model", "/traces", (("tags", "support"), ("model", "gpt-4o-mini"))),
    Read(
        "an environment and a tag", "/traces", (("environment", "production"), ("tags", "support"))
    ),
    Read(
        "an environment and a latency",
        "/traces",
        (("environment", "production"), ("min_latency_ms", "1000")),
    ),
    Read(
        "latency from 2 to 3 s", "/traces", (("min_latency_ms", "2000"), ("max_latency_ms", "3000"))
    ),
    Read("a week", "/traces", WEEK),
    Read(
        "a week, production, with errors",
        "/traces",
        (*WEEK, ("environment", "production"), ("has_error", "true")),
    ),
    Read("a user's traces by name", "/traces", (("user_id", "{frequent_user}"), ("name", "plan"))),
    Read("`tags=reviewed` by latency", "/traces", (("tags", "reviewed"), ("sort_by", "latency"))),
]
SORTS = _sorts("/traces", "started_at", "ended_at", "name", "latency", "status", "cost", "tokens")
DETAILS = [
    Read("trace of 12 spans", "/traces/{trace_of_12}"),
    Read("trace of 5,000 spans", "/traces/{trace_of_5000}"),
    Read(
        "200 of its spans, previews",
        "/traces/{trace_of_5000}/spans",
        (("limit", "200"), ("payloads", "preview")),
    ),
    Read("session detail", "/sessions/{session}"),
    Read("session detail, `limit=1`", "/sessions/{session}", (("limit", "1"),)),
]
ANALYTICS = [
    Read(
        f"{metric}, 30 days, {granularity}",
        "/traces/analytics",
        (("metric", metric), ("granularity", granularity), *MONTH),
    )
    for metric in ("volume", "errors", "latency", "cost", "tokens")
    for granularity in ("hour", "day")
] + [
    Read("latency, a week, hour", "/traces/analytics",
         (("metric", "latency"), ("granularity", "hour"), *WEEK)),
    Read("models, 30 days", "/traces/analytics", (("metric", "models"), *MONTH)),
    Read("models, a week", "/traces/analytics", (("metric", "models"), *WEEK)),
    *(
        Read(f"sessions, 30 days, {granularity}", "/sessions/analytics",
             (("granularity", granularity), *MONTH))
        for granularity in ("hour", "day")
    ),
]  # fmt: skip
SPANS = [
    Read("first page", "/spans"),
    Read("page at offset 5,000", "/spans", (("offset", "5000"),)),
    *_filters(
        "/spans",
        ("kind", "TOOL"),
        ("name", "{frequent_span}"),
        ("model", "gpt-4o-mini"),
        ("model", "nobody-has-it"),
        ("has_error", "true"),
        ("has_error", "false"),
        ("min_latency_ms", "60000"),
        ("min_tokens", "20000"),
        ("environment", "production"),
        ("release", "2.6.0"),
        ("session_id", "{session}"),
        ("user_id", "{rare_user}"),
        ("tags", "incident"),
        ("trace_status", "ERROR"),
    ),
    Read("a week", "/spans", WEEK),
    *(
        Read(f"model calls of a day by {sort}", "/spans",
             (*DAY, ("kind", "LLM"), ("sort_by", sort)))
        for sort in ("latency", "cost", "tokens")
    ),
    Read("failed spans of a week by latency", "/spans",
         (*WEEK, ("has_error", "true"), ("sort_by", "latency"))),
    Read("groups of errors, a week", "/errors", WEEK),
    Read("groups of errors, 30 days", "/errors", MONTH),
    Read("new groups of errors, a week", "/errors", (*WEEK, ("is_new", "true"))),
]  # fmt: skip
SPAN_ANALYTICS = [
    *(
        Read(f"by {group}, 30 days, {interval}", "/analytics/spans",
             (("group_by", group), ("interval", interval), *MONTH))
        for group in ("kind", "name", "model", "error")
        for interval in ("none", "day")
    ),
    Read("by name, a week, hour", "/analytics/spans",
         (("group_by", "name"), ("interval", "hour"), *WEEK)),
    Read("tools by error rate, 30 days", "/analytics/spans",
         (("group_by", "name"), ("kind", "TOOL"), ("sort_by", "error_rate"), *MONTH)),
    Read("by name in a release, a day", "/analytics/spans",
         (("group_by", "name"), ("release", "2.6.0"), *DAY)),
    Read("by name of a rare user, 30 days", "/analytics/spans",
         (("group_by", "name"), ("user_id", "{rare_user}"), *MONTH)),
]  # fmt: skip
SESSIONS = [
    Read("first page", "/sessions"),
    Read("page at offset 10,000 (or a tenth)", "/sessions", (("offset", "{deep_session}"),)),
    Read("cursor pages from there on", "/sessions", walks=True),
    *_sorts("/sessions", "recent", "trace_count", "latency", "cost"),
    *_filters(
        "/sessions",
        ("has_error", "true"),
        ("has_error", "false"),
        ("query", "conv-0a"),
        ("query", "nobody"),
        ("user_id", "{frequent_user}"),
        ("user_id", "{rare_user}"),
        ("tags", "support"),
        ("tags", "incident"),
        ("not_user_id", "{frequent_user}"),
        ("not_tags", "support"),
    ),
    Read("first page, `include=preview,scores`", "/sessions", (("include", "preview,scores"),)),
    Read("a week", "/sessions", WEEK),
    Read("a week, by cost", "/sessions", (*WEEK, ("sort_by", "cost"))),
]
USERS = [
    Read("first page", "/traces/users"),
    Read("page at offset 10,000 (or the middle)", "/traces/users", (("offset", "{deep_user}"),)),
]
# `many_traces.py` says which traces have them.
_WORDS: Final = {
    "a word of one trace": "{rare_word}",
    "a rare word": "IndexUnavailable",
    "a word of many traces": "order",
    "two words": "order delay",
    "a word of all Chinese traces": "退款",
    "a Chinese phrase": '"退款的金额"',
    "a rare Japanese word": "黒曜石",
    "a phrase": '"upstream closed the connection"',
    "a phrase that is nowhere": '"connection the closed upstream"',
    "a beginning": "ship*",
    "a word that is nowhere": "kwatschelbacher",
}
_RARE: Final = ("query", "IndexUnavailable")
_FREQUENT: Final = ("query", "order")
SEARCH = [
    *(
        Read(f"{path.removeprefix('/')}: {label}", path, (("query", text),))
        for path in ("/traces", "/spans")
        for label, text in _WORDS.items()
    ),
    Read("traces: a rare word, a user", "/traces", (_RARE, ("user_id", "{frequent_user}"))),
    Read("traces: a word of many, a rare user", "/traces",
         (_FREQUENT, ("user_id", "{rare_user}"))),
    Read("traces: a word of many, a week", "/traces", (_FREQUENT, *WEEK)),
    Read("traces: a rare word, production, failed", "/traces",
         (_RARE, ("environment", "production"), ("has_error", "true"))),
    Read("spans: a word of many, a kind", "/spans", (_FREQUENT, ("kind", "TOOL"))),
]  # fmt: skip
FACETS = [
    *(
        Read(f"`{field}`", "/traces/facets", (("field", field),))
        for field in ("environment", "name", "tag", "model", "user", "session", "metadata_key")
    ),
    Read("`metadata_value` of customer", "/traces/facets",
         (("field", "metadata_value"), ("key", "customer"))),
    Read("`session`, conv-0a", "/traces/facets", (("field", "session"), ("prefix", "conv-0a"))),
    Read("`user`, user-00", "/traces/facets", (("field", "user"), ("prefix", "user-00"))),
]  # fmt: skip
_SCORES: Final = "/evaluations/trace-scores"
_CREATED: Final = (("date_from", "{week_begins}"), ("date_to", "{week_ends}"))
_OF_SCORES: Final = "/evaluations/analytics"
SCORES = [
    Read("first page", _SCORES),
    Read("first page of session scores", "/evaluations/session-scores"),
    *_filters(_SCORES, ("name", "metric_3"), ("status", "SUCCESS"), ("source", "ANNOTATION"),
              ("environment", "staging"), ("data_type", "BOOLEAN")),
    Read("a week", _SCORES, _CREATED),
    Read("summary", f"{_OF_SCORES}/trace-scores/summary"),
    Read("trend, 30 days, day", f"{_OF_SCORES}/trace-scores/trend", (("metric_name", "metric_3"),)),
    Read("distribution", f"{_OF_SCORES}/trace-scores/distribution",
         (("metric_name", "metric_3"),)),
]  # fmt: skip

GROUPS = {
    "GET /traces: pages": PAGES,
    "GET /traces: filters": FILTERS,
    "GET /traces: sorts": SORTS,
    "One trace, one session": DETAILS,
    "Analytics": ANALYTICS,
    "GET /spans and /errors": SPANS,
    "GET /analytics/spans": SPAN_ANALYTICS,
    "GET /sessions": SESSIONS,
    "GET /traces/users": USERS,
    "GET /traces/facets": FACETS,
    "Search": SEARCH,
    "Scores": SCORES,
}
