"""Invalid requests: their statuses and fields; nothing is stored."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from domain.tracing.payloads.payload import OBJECT_VALUES_MAX, TOO_MANY_VALUES
from entrypoints.http.controllers.traces import examples
from entrypoints.http.requests.json_body import LEVELS_MAX
from tests.http.conftest import CONFIG, Site, a_span, a_trace, field_errors

NUL, LONE = "a\\u0000b", "a\\ud800b"
TEXTS = ("name", "session_id", "user_id", "environment", "release")


# More than a stack of eight megabytes holds, which Python 3.14 uses to its end.
UNPARSABLE_LEVELS = 400_000


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


async def refused(site: Site, content: str | bytes) -> dict[str, str]:
    """The errors of a refused trace, which isn't stored."""
    response = await site.http.post("/traces", headers=site.headers(), content=content)
    assert site.trace_count() == 0
    return field_errors(response)


def raw_trace(**members: str) -> str:
    """A valid trace with `members` replaced, each as JSON text."""
    said = {"name": '"n"', "started_at": '"2026-03-01"'} | members
    return "{" + ",".join(f'"{key}":{value}' for key, value in said.items()) + "}"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"   ",
        b"{'name':1}",
        b'{"name":"n",}',
        b'{"name":"n"} x',
        b'{"input":NaN}',
        b'{"input":Infinity}',
        b'{"input":-Infinity}',
        b'{"input":01}',
        b'{"input":"\x01"}',
        b'{"input":"\\x"}',
        b'{"input":"\\ud800}',
        b'{"input":"\x00\x00\\ud800"}',
        b'{"input":"\xff"}',
        b'{"input":"\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"name":"n"}',
        b'{"name":"n","unknown":tru}',
        '{"name":"n"}'.encode("utf-16"),
    ],
)
async def test_invalid_json_or_utf8_is_400(site: Site, body: bytes) -> None:
    for path in ("/traces", "/traces/batch"):
        response = await site.http.post(path, headers=site.headers(), content=body)
        assert response.status_code == 400
        assert list(response.json()) == ["detail"]
    assert site.trace_count() == 0


async def test_missing_body_is_an_error_of_the_whole_body(site: Site) -> None:
    assert set(await refused(site, b"")) == {""}


@pytest.mark.parametrize("body", ["null", "1", '"text"', "[]", "true", "1e400"])
async def test_non_object_is_an_error_of_the_whole_body(site: Site, body: str) -> None:
    assert set(await refused(site, body)) == {""}


async def test_errors_at_every_depth_are_reported_together(site: Site) -> None:
    body = a_trace(
        name=1,
        started_at=None,
        ended_at={},
        status="completed",
        tags=["a", 2, None],
        metadata=[],
        trace_id=None,
        session_id="s" * 256,
        spans=[
            a_span(kind="x", status=None, metadata=None, span_id="x", token_usage=[1]),
            {"name": "", "started_at": True, "cost": {"a": None, "b": True, "c": "x", "d": []}},
            7,
        ],
    )
    assert set(await refused(site, json.dumps(body))) == {
        "name",
        "started_at",
        "ended_at",
        "status",
        "tags.1",
        "tags.2",
        "metadata",
        "trace_id",
        "session_id",
        "spans.0.kind",
        "spans.0.status",
        "spans.0.metadata",
        "spans.0.span_id",
        "spans.0.token_usage",
        "spans.1.name",
        "spans.1.started_at",
        "spans.1.cost.a",
        "spans.1.cost.b",
        "spans.1.cost.c",
        "spans.1.cost.d",
        "spans.2",
    }


async def test_at_most_100_errors_are_reported(site: Site) -> None:
    assert len(await refused(site, json.dumps(a_trace(spans=[{}] * 500)))) == 100


@pytest.mark.parametrize("member", ["status", "metadata", "tags", "spans", "trace_id", "name"])
async def test_null_is_refused_in_required_fields(site: Site, member: str) -> None:
    assert set(await refused(site, raw_trace(**{member: "null"}))) == {member}


async def test_null_means_absent_in_optional_fields(site: Site, head: dict[str, str]) -> None:
    absent = ("input", "output", "ended_at", "session_id", "user_id", "environment", "release")
    in_spans = ("parent_span_id", "ended_at", "error", "completion_start_time", "model", "input")
    payloads = ("output", "token_usage", "model_parameters", "cost")
    span = a_span(**dict.fromkeys((*in_spans, *payloads)))
    body = a_trace(spans=[span], **dict.fromkeys(absent))
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202


async def test_too_many_spans_are_refused(site: Site, head: dict[str, str]) -> None:
    spans = [a_span()] * (CONFIG.max_spans + 1)
    assert set(await refused(site, json.dumps(a_trace(spans=spans)))) == {"spans"}
    batch = {"traces": [a_trace(spans=spans), a_trace()]}
    done = await site.http.post("/traces/batch", headers=head, json=batch)
    assert [one["index"] for one in done.json()["rejected"]] == [0]
    path = f"/traces/{done.json()['accepted'][0]['trace_id']}/spans"
    assert set(field_errors(await site.http.post(path, headers=head, json=spans))) == {""}


async def test_maximum_number_of_spans_is_accepted(site: Site, head: dict[str, str]) -> None:
    body = a_trace(spans=[a_span()] * CONFIG.max_spans)
    assert (await site.http.post("/traces", headers=head, json=body)).status_code == 202


@pytest.mark.parametrize("text", [NUL, LONE, "\\udc00\\ud800", "\\ud800\\ud800\\udc00"])
@pytest.mark.parametrize("member", TEXTS)
async def test_trace_texts_refuse_nul_and_surrogates(site: Site, member: str, text: str) -> None:
    assert set(await refused(site, raw_trace(**{member: f'"{text}"'}))) == {member}


@pytest.mark.parametrize("text", [NUL, LONE])
async def test_span_texts_tags_and_metadata_refuse_nul_and_surrogates(
    site: Site, text: str
) -> None:
    span = raw_trace(model=f'"{text}"', error=f'"{text}"', metadata=f'{{"k":["{text}"]}}')
    body = raw_trace(
        tags=f'["a","{text}"]', metadata=f'{{"{text}":1}}', spans=f"[{span}]", status=f'"{text}"'
    )
    assert set(await refused(site, body)) == {
        "tags.1",
        "metadata",
        "status",
        "spans.0.model",
        "spans.0.error",
        "spans.0.metadata",
    }


async def test_lone_surrogate_in_a_payload_is_named(site: Site) -> None:
    span = raw_trace(
        input=f'"{LONE}"',
        token_usage=f'{{"a":"{LONE}"}}',
        model_parameters=f'{{"{LONE}":1}}',
        cost=f'{{"{LONE}":1}}',
    )
    body = raw_trace(input=f'"{LONE}"', output=f'["{LONE}"]', spans=f"[{span}]")
    assert set(await refused(site, body)) == {
        "input",
        "output",
        "spans.0.input",
        "spans.0.token_usage",
        "spans.0.model_parameters",
        "spans.0.cost",
    }


async def test_payloads_keep_nul_and_surrogate_pairs(site: Site, head: dict[str, str]) -> None:
    usage = f'{{"a":"{NUL}"}}'
    text = f'"{NUL} \\ud83d\\ude00 \\\\ud800 \\\\u0000"'
    span = raw_trace(input=text, token_usage=usage, model_parameters=usage, cost=f'{{"{NUL}":1.5}}')
    body = raw_trace(
        input=text, output=text, spans=f"[{span}]", metadata='{"k":"\\\\u0000 \\\\ud800"}'
    )
    posted = await site.http.post("/traces", headers=head, content=body)
    assert posted.status_code == 202
    read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
    assert read.text.count(text) == 3
    assert read.text.count(usage) == 2
    assert read.json()["spans"][0]["cost"] == {"a\0b": 1.5}
    assert read.json()["metadata"] == {"k": "\\u0000 \\ud800"}


async def test_unknown_keys_are_ignored(site: Site, head: dict[str, str]) -> None:
    body = raw_trace(unknown=f'"{LONE}"', other=f'"{NUL}"', third="1e400")
    assert (await site.http.post("/traces", headers=head, content=body)).status_code == 202


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "9" * 6000, str(2**70)])
async def test_too_large_numbers_are_refused(site: Site, number: str) -> None:
    found = await refused(site, raw_trace(started_at=number, ended_at=f'"{number}"'))
    assert set(found) == {"started_at", "ended_at"}


async def test_cost_must_be_an_amount(site: Site, head: dict[str, str]) -> None:
    absurd = ["1e400", '"1e400"', '"NaN"', '"inf"', "-0.01", '"-1"', "1000000.1", "1" + "0" * 400]
    cost = ",".join(f'"{n}":{amount}' for n, amount in enumerate(absurd))
    span = raw_trace(cost=f"{{{cost}}}")
    found = await refused(site, raw_trace(spans=f"[{span}]"))
    assert set(found) == {f"spans.0.cost.{n}" for n in range(len(absurd))}
    large = raw_trace(cost='{"total":1000000,"part":"0.1"}')
    body = raw_trace(spans=f"[{large}]")
    posted = await site.http.post("/traces", headers=head, content=body)
    read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
    assert read.json()["spans"][0]["cost"] == {"total": 1e6, "part": 0.1}


async def test_counters_beyond_any_double_are_refused(site: Site, head: dict[str, str]) -> None:
    for count in ("1e400", "-1e400", "1" + "0" * 400):
        span = raw_trace(token_usage=f'{{"completion_tokens":{count}}}')
        found = await refused(site, raw_trace(spans=f"[{span}]"))
        assert found == {"spans.0.token_usage": "completion_tokens is out of range"}
    held = '{"prompt_tokens":1e300,"completion_tokens":-1,"other":1e400}'
    body = raw_trace(spans=f"[{raw_trace(token_usage=held)}]")
    posted = await site.http.post("/traces", headers=head, content=body)
    read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
    assert held in read.text
    assert read.json()["total_tokens"] == 0


@pytest.mark.parametrize("inner", ["{}", '{{"items":[{}]}}'])
async def test_objects_have_a_bounded_number_of_values(
    site: Site, head: dict[str, str], inner: str
) -> None:
    def held(values: int) -> str:
        if inner == "{}":
            return "{" + ",".join(f'"{n}":"[,"' for n in range(values)) + "}"
        return inner.format(",".join(["0"] * (values - 1)))

    most, more = held(OBJECT_VALUES_MAX), held(OBJECT_VALUES_MAX + 1)
    span = raw_trace(token_usage=most, model_parameters=most, metadata=most)
    body = raw_trace(metadata=most, spans=f"[{span}]")
    assert (await site.http.post("/traces", headers=head, content=body)).status_code == 202
    span = raw_trace(token_usage=more, model_parameters=more, metadata=more)
    body = raw_trace(metadata=more, input=more, spans=f"[{span}]")
    found = field_errors(await site.http.post("/traces", headers=head, content=body))
    names = ("metadata", "token_usage", "model_parameters")
    assert set(found) == {"metadata", *(f"spans.0.{name}" for name in names)}
    assert set(found.values()) == {TOO_MANY_VALUES}


async def test_merge_keeps_metadata_within_the_bound(site: Site, head: dict[str, str]) -> None:
    def report(name: str, values: int) -> str:
        text = ",".join(f'"{name}{n}":{n}' for n in range(values))
        return raw_trace(trace_id=f'"{examples.TRACE_ID}"', metadata=f"{{{text}}}")

    full = report("a", OBJECT_VALUES_MAX)
    assert (await site.http.post("/traces", headers=head, content=full)).status_code == 202
    late = await site.http.post("/traces", headers=head, content=report("b", 1))
    assert set(field_errors(late)) == {"metadata"}
    other = raw_trace(name='"other"')
    batch = f'{{"traces":[{other},{report("b", 1)},{report("a", 2)}]}}'
    answer = (await site.http.post("/traces/batch", headers=head, content=batch)).json()
    assert len(answer["accepted"]) == 2
    assert [one["index"] for one in answer["rejected"]] == [1]
    changed = await site.http.patch(
        f"/traces/{examples.TRACE_ID}", headers=head, json={"metadata": {"b": 1}}
    )
    assert changed.status_code == 422


@pytest.mark.parametrize("levels", [128, 499])
async def test_accepted_nesting_is_stored(site: Site, head: dict[str, str], levels: int) -> None:
    held = f'{{"k":{deep(levels)},"text":"{"[{" * 400}"}}'
    span = raw_trace(token_usage=held, model_parameters=held, metadata=held, input=held)
    body = raw_trace(metadata=held, input=deep(levels), spans=f"[{span}]")
    posted = await site.http.post("/traces", headers=head, content=body)
    assert posted.status_code == 202
    read = await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)
    assert read.status_code == 200
    assert held in read.text


async def test_too_deep_objects_are_named(site: Site) -> None:
    held = f'{{"k":{deep(500)}}}'
    span = raw_trace(token_usage=held, model_parameters=held, metadata=held)
    assert set(await refused(site, raw_trace(metadata=held, spans=f"[{span}]"))) == {
        "metadata",
        "spans.0.metadata",
        "spans.0.token_usage",
        "spans.0.model_parameters",
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (raw_trace(input=deep(UNPARSABLE_LEVELS)), "input"),
        (
            raw_trace(spans=f"[{raw_trace()},{raw_trace(output=deep(UNPARSABLE_LEVELS))}]"),
            "spans.1.output",
        ),
        (raw_trace(metadata=f'{{"k":{deep(UNPARSABLE_LEVELS)}}}'), "metadata"),
        (raw_trace(name=deep(UNPARSABLE_LEVELS)), "name"),
        (raw_trace(unknown=deep(UNPARSABLE_LEVELS), name="1"), "name"),
        (deep(UNPARSABLE_LEVELS), ""),
        ("[" * UNPARSABLE_LEVELS, ""),
    ],
)
async def test_unparsably_deep_values_are_named(site: Site, body: str, field: str) -> None:
    response = await site.http.post("/traces", headers=site.headers(), content=body)
    assert site.trace_count() == 0
    assert set(field_errors(response)) == {field}


async def test_unparsably_deep_values_are_named_with_all_other_errors(site: Site) -> None:
    body = raw_trace(name="1", input=deep(UNPARSABLE_LEVELS), tags="[1]")
    assert set(await refused(site, body)) == {"name", "input", "tags.0"}


@pytest.mark.parametrize(
    "made",
    [
        lambda value: raw_trace(input=value),
        lambda value: raw_trace(spans=f"[{raw_trace(output=value)}]"),
        lambda value: raw_trace(metadata=f'{{"k":[{value}]}}'),
        lambda value: value,
    ],
)
async def test_deep_items_of_a_batch_are_rejected_by_themselves(
    site: Site, head: dict[str, str], made: Callable[[str], str]
) -> None:
    good, bad = raw_trace(input=deep(128)), made(deep(UNPARSABLE_LEVELS))
    batch = f'{{"traces":[{good},{bad},{good},"\\ud800"]}}'
    answer = await site.http.post("/traces/batch", headers=head, content=batch)
    assert answer.status_code == 202
    assert len(answer.json()["accepted"]) == 2
    assert [one["index"] for one in answer.json()["rejected"]] == [1, 3]
    assert site.trace_count() == 2


async def test_item_with_many_brackets_near_the_limit_is_rejected_by_itself() -> None:
    around = "[" * LEVELS_MAX, "]" * LEVELS_MAX
    value = around[0] + "[[]]," * 900_000 + deep(UNPARSABLE_LEVELS) + around[1]
    batch = f'{{"traces":[{raw_trace()},{raw_trace(input=value)},{raw_trace()}]}}'
    site = Site(config=replace(CONFIG, max_body_bytes=8 << 20))
    site.begin()
    async with site.http:
        answer = await site.http.post("/traces/batch", headers=site.headers(), content=batch)
    assert answer.status_code == 202
    assert [one["index"] for one in answer.json()["rejected"]] == [1]
    assert site.trace_count() == 2


@pytest.mark.parametrize(
    "value", ["2026-13-01", "0000-01-01", "10000-01-01", "2026-03-01T24:00:00Z"]
)
async def test_invalid_instants_are_refused(site: Site, value: Any) -> None:
    assert set(await refused(site, json.dumps(a_trace(started_at=value)))) == {"started_at"}


async def test_first_and_last_year_are_accepted(site: Site, head: dict[str, str]) -> None:
    body = a_trace(started_at="0001-01-01", ended_at="9999-12-31T23:59:59.9999999Z")
    posted = await site.http.post("/traces", headers=head, json=body)
    assert posted.status_code == 202
    read = (await site.http.get(f"/traces/{posted.json()['trace_id']}", headers=head)).json()
    assert read["started_at"] == "0001-01-01T00:00:00+00:00"
    assert read["ended_at"] == "9999-12-31T23:59:59.999999+00:00"
    outside = a_trace(started_at="0001-01-01T00:00:00+02:00", ended_at="9999-12-31T23:00:00-02:00")
    response = await site.http.post("/traces", headers=head, json=outside)
    assert set(field_errors(response)) == {"started_at", "ended_at"}
