"""Prices over HTTP."""

from tests.http.conftest import Site, a_span, a_trace

ID = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0}


async def test_each_span_tells_who_says_what_it_cost_and_by_which_prices(site: Site) -> None:
    spans = [
        a_span(model="gpt-4o", token_usage=USAGE),
        a_span(model="gpt-4o", token_usage=USAGE, cost={"total": 7.5}),
        a_span(model="unlisted", token_usage=USAGE),
        a_span(),
    ]
    trace = a_trace(trace_id=ID, spans=spans)
    await site.http.post("/traces", headers=site.headers(), json=trace)
    answer = await site.http.get(f"/traces/{ID}/prices", headers=site.headers())
    price = {"amount": 2.5, "version": "memory", "effective_from": None}
    told = {
        (one["cost_source"], one["amount"], one["model"]): one["price"] for one in answer.json()
    }
    assert told == {
        ("table", 2.5, "gpt-4o"): price,
        ("client", 7.5, "gpt-4o"): price,
        ("unpriced", None, "unlisted"): None,
        ("unpriced", None, None): None,
    }


async def test_prices_of_no_trace_are_not_found(site: Site) -> None:
    assert (await site.http.get(f"/traces/{ID}/prices", headers=site.headers())).status_code == 404
    assert (await site.http.get("/traces/x/prices", headers=site.headers())).status_code == 422
