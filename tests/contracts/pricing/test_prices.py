"""Contract of PriceBook, and what each book guarantees beyond it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.memory.tracing.traces import MemoryPriceBook
from adapters.pricing.genai_prices import MODELS_MAX, GenaiPriceBook
from adapters.pricing.price_table import PriceTableError, TablePriceBook
from application.tracing.ports import PriceBook
from domain.pricing.model_price import Tariff
from domain.tracing.span import SELF_HOSTED_PROVIDERS, priced_models
from domain.tracing.usage import TOKENS_MAX, Usage, first_price_of
from tests.support.builders import strategies
from tests.support.builders.values import NOON

ROOT = Path(__file__).parents[2]
GPT_4O = {"match": "gpt-4o*", "provider": "openai", "input": "2.50", "output": "10.00"} | {
    "cache_read": "1.25"
}
THOUSAND = Usage(1_000, 100, is_known=True)
MILLION = Usage(1_000_000, 0, is_known=True)


def table(folder: Path, *rows: object) -> TablePriceBook:
    path = folder / "prices.json"
    path.write_text(json.dumps(rows))
    return TablePriceBook.from_file(path)


@pytest.fixture(scope="session")
def genai() -> GenaiPriceBook:
    return GenaiPriceBook()


@pytest.fixture(params=["memory", "genai", "table"])
def book(request: pytest.FixtureRequest, genai: GenaiPriceBook, tmp_path: Path) -> PriceBook:
    books: dict[str, Callable[[], PriceBook]] = {
        "memory": lambda: MemoryPriceBook(
            {"gpt-4o": (Decimal("2.50"), Decimal(10), Decimal("1.25"))}
        ),
        "genai": lambda: genai,
        "table": lambda: table(tmp_path, GPT_4O),
    }
    return books[request.param]()


def usd(book: PriceBook, model: str, usage: Usage, at: datetime) -> Decimal | None:
    price = book.price(model, usage, at)
    return None if price is None else price.amount


# --- every book ----------------------------------------------------------------------------


def test_input_and_output_tokens_have_their_own_price(book: PriceBook):
    assert usd(book, "gpt-4o", THOUSAND, NOON) == Decimal("0.0035")
    assert usd(book, "gpt-4o", Usage(1_000, 0, is_known=True), NOON) == Decimal("0.0025")
    assert usd(book, "gpt-4o", Usage(0, 100, is_known=True), NOON) == Decimal("0.001")


def cached(prompt: int, completion: int = 0, *, read: int = 0, written: int = 0) -> Usage:
    return Usage(
        prompt, completion, is_known=True, cache_read_tokens=read, cache_write_tokens=written
    )


def test_cache_reads_have_their_own_price(book: PriceBook):
    assert usd(book, "gpt-4o", cached(1_000, 100, read=500), NOON) == Decimal("0.002875")
    assert usd(book, "gpt-4o", cached(1_000, read=1_000), NOON) == Decimal("0.00125")


def test_cache_writes_without_price_cost_like_input(book: PriceBook):
    usage = cached(1_000, 100, read=500, written=400)
    assert usd(book, "gpt-4o", usage, NOON) == Decimal("0.002875")


def test_listed_model_with_zero_tokens_costs_nothing(book: PriceBook):
    assert usd(book, "gpt-4o", Usage(0, 0, is_known=True), NOON) == 0


def test_model_may_have_provider_prefix(book: PriceBook):
    assert usd(book, "openai/gpt-4o", THOUSAND, NOON) == Decimal("0.0035")


@pytest.mark.parametrize(
    "model", ["", "/", "no-such-model", "openai/", "\x00", "é" * 255, "a/" * 500]
)
def test_unlisted_model_has_no_price(book: PriceBook, model: str):
    assert usd(book, model, THOUSAND, NOON) is None


def test_largest_usage_is_priced_exactly(book: PriceBook):
    most = TOKENS_MAX - 1
    exact = (Decimal("2.50") * most + 10 * most).scaleb(-6)
    assert usd(book, "gpt-4o", Usage(most, most, is_known=True), NOON) == exact


async def test_load_is_idempotent(book: PriceBook):
    assert await book.load()
    assert await book.load()
    assert usd(book, "gpt-4o", THOUSAND, NOON) == Decimal("0.0035")


def test_price_carries_version_of_book(book: PriceBook):
    price = book.price("gpt-4o", THOUSAND, NOON)
    assert price is not None
    assert price.version == book.version != ""


@given(
    model=strategies.texts | strategies.models,
    at=strategies.instants,
    tokens=st.integers(0, TOKENS_MAX - 1),
)
def test_price_is_stable_and_never_negative(genai, model, at, tokens):
    usage = Usage(tokens, tokens, is_known=True)
    books = (genai, MemoryPriceBook({"gpt-4o": (Decimal(1), Decimal(2))}))
    for book in books:
        first = usd(book, model, usage, at)
        assert first is None or first >= 0
        assert usd(book, model, usage, at) == first


# --- genai-prices --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "usage", "expected"),
    [
        ("gpt-4o", THOUSAND, "0.0035"),
        ("text-embedding-3-small", Usage(1_000, 0, is_known=True), "0.00002"),
        ("text-embedding-ada-002", Usage(1_000, 0, is_known=True), "0.0001"),
        ("claude-sonnet-4-20250514", THOUSAND, "0.0045"),
        (
            "claude-sonnet-4-20250514",
            cached(130_213, read=128_955, written=1_253),
            "0.04340025",
        ),
        ("anthropic/claude-sonnet-4-20250514", cached(130_213, 393), "0.396534"),
        ("GPT-4o", THOUSAND, "0.0035"),
        ("gpt-4o-2024-08-06", THOUSAND, "0.0035"),
        ("gpt-4o-20240806", THOUSAND, "0.0035"),
    ],
)
def test_golden_prices(genai, model, usage, expected):
    assert usd(genai, model, usage, NOON) == Decimal(expected)


@pytest.mark.parametrize(
    ("at", "expected"),
    [(datetime(2025, 5, 1, tzinfo=UTC), 10), (datetime(2025, 12, 1, tzinfo=UTC), 2)],
)
def test_price_is_that_of_span_date(genai, at, expected):
    assert usd(genai, "o3", MILLION, at) == expected


def test_price_reports_start_of_validity(genai):
    days = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)
    assert [genai.price("o3", MILLION, day).since for day in days] == [
        None,
        datetime(2025, 6, 10, tzinfo=UTC),
    ]


@pytest.mark.parametrize(("tokens", "expected"), [(200_000, "0.25"), (200_001, "0.5000025")])
def test_tier_price_applies_to_all_tokens(genai, tokens, expected):
    assert usd(genai, "gemini-2.5-pro", Usage(tokens, 0, is_known=True), NOON) == Decimal(expected)


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("x_ai/grok-3", "x-ai/grok-3"),
        ("xai/grok-3", "grok-3"),
        ("azure.ai.openai/gpt-4o", "azure/gpt-4o"),
        ("az.ai.openai/gpt-4o", "azure/gpt-4o"),
        ("anthropic/claude-sonnet-4-0", "claude-sonnet-4-0"),
        ("gemini/gemini-2.0-flash", "gemini-2.0-flash"),
        ("gcp.gemini/gemini-2.0-flash", "gemini-2.0-flash"),
        ("vertex_ai/gemini-2.0-flash", "gemini-2.0-flash"),
        ("gcp.vertex_ai/gemini-2.0-flash", "gemini-2.0-flash"),
        ("models/gemini-2.0-flash", "gemini-2.0-flash"),
        ("mistral_ai/mistral-large-latest", "mistral-large-latest"),
        ("litellm/openai/gpt-4o", "gpt-4o"),
        ("our-proxy/gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o", "gpt-4o"),
        ("text-embedding-3-large", "openai/text-embedding-3-large"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4-0"),
        ("aws.bedrock/anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4-0"),
        ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4-0"),
    ],
)
def test_model_names_of_tracers_are_recognized(genai, sent, canonical):
    price = usd(genai, canonical, THOUSAND, NOON)
    assert price is not None
    assert usd(genai, sent, THOUSAND, NOON) == price


@pytest.mark.parametrize("provider", sorted(SELF_HOSTED_PROVIDERS))
def test_local_models_have_no_price(genai, provider):
    assert usd(genai, f"{provider}/gpt-4o", THOUSAND, NOON) is None
    assert usd(genai, "llama3.1", THOUSAND, NOON) is None
    names = priced_models("deepseek-r1", provider, None)
    assert first_price_of(names, THOUSAND, NOON, genai.price) is None
    assert usd(genai, "deepseek-r1", THOUSAND, NOON) is not None


def test_model_of_a_known_provider_has_no_price_of_another(genai):
    """Groq sells Whisper and Llama, not gpt-4o: what was sent isn't the model of that price."""
    assert usd(genai, "gpt-4o", THOUSAND, NOON) is not None
    names = priced_models("gpt-4o", "groq", "gpt-4o")
    assert first_price_of(names, THOUSAND, NOON, genai.price) is None


def test_table_prices_models_of_providers_that_it_does_not_know(tmp_path):
    """The table doesn't know the provider, so a row of any provider fits."""
    book = table(tmp_path, GPT_4O, GPT_4O | {"match": "llama*", "provider": "groq"})
    known = {"langchain": True, "our-proxy": True, "openai": True, "groq": False, "ollama": False}
    for provider, has_price in known.items():
        names = priced_models("gpt-4o", provider, None)
        price = first_price_of(names, MILLION, NOON, book.price)
        assert (price is not None) is has_price


@pytest.mark.parametrize("model", ["groq/whisper-large-v3", "whisper-1", "github-copilot/gpt-4o"])
def test_model_not_sold_by_token_has_no_price(genai, model):
    assert usd(genai, model, THOUSAND, NOON) is None


@pytest.fixture(scope="session")
def package() -> ModuleType:
    import genai_prices
    import genai_prices.data

    return genai_prices


SMALL, LARGE = Usage(7, 3, is_known=True), Usage(1_234_567, 89, is_known=True)
CACHED = cached(300_000, 89, read=200_000, written=50_001)
MORNING, EVENING = datetime(2025, 3, 1, 3, tzinfo=UTC), datetime(2026, 10, 1, 20, tzinfo=UTC)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("usage", "at"),
    [
        (LARGE, EVENING),
        (CACHED, MORNING),
        pytest.param(SMALL, MORNING, marks=pytest.mark.exhaustive),
        pytest.param(CACHED, EVENING, marks=pytest.mark.exhaustive),
    ],
)
def test_every_model_costs_what_the_package_computes(genai, package, usage, at):
    """The package is the reference: each model by its provider, and by its bare name."""
    compared = 0
    asked = package.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    for provider in package.data.providers:
        for model in provider.models:
            if "/" in model.id.partition("/")[2]:
                continue  # an inner provider is cut off when the full name is not found
            for name, of in ((f"{provider.id}/{model.id}", provider.id), (model.id, None)):
                if of is None and "/" in name:
                    continue
                actual = usd(genai, name, usage, at)
                try:
                    expected = package.calc_price(
                        asked, model.id, provider_id=of, genai_request_timestamp=at
                    )
                except LookupError:
                    continue
                fees = {"requests_kcount"} & vars(expected.model_price).keys()
                if actual is not None and not fees:
                    assert actual == expected.total_price, name
                    compared += 1
    assert compared > 2_000


# In a separate process: this one has loaded the package already.
LAZY = """
import asyncio, sys
from datetime import UTC, datetime
from adapters.pricing.genai_prices import GenaiPriceBook
from domain.tracing.usage import Usage

PACKAGE = "genai_prices"
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # as if they were not installed

async def results():
    book = GenaiPriceBook()
    before = PACKAGE in sys.modules
    price = book.price("gpt-4o", Usage(1_000, 100, is_known=True), datetime.now(UTC))
    after = PACKAGE in sys.modules
    return before, after, price and float(price.amount), await book.load(), await book.load()

print(asyncio.run(results()))
"""


def run_in_new_process(*missing: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LAZY, *missing],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_package_is_loaded_with_first_price():
    assert run_in_new_process().stdout.strip() == "(False, True, 0.0035, True, True)"


def test_missing_package_leaves_everything_unpriced_and_is_logged():
    done = run_in_new_process("genai_prices.data")
    assert done.stdout.strip() == "(False, False, None, False, False)"
    [line] = done.stderr.splitlines()
    assert line.startswith("prices can't be loaded: ")
    assert "genai_prices.data" in line


class FaultyPriceBook(GenaiPriceBook):
    """Raises an error for every model that starts with `new`."""

    def _finder(self) -> Callable[[str], tuple[Tariff, ...]]:
        find = super()._finder()

        def found(model: str) -> tuple[Tariff, ...]:
            if model.startswith("new"):
                raise TypeError(model)
            return find(model)

        return found


def test_error_for_one_model_leaves_it_unpriced_only(caplog):
    book = FaultyPriceBook()
    assert usd(book, "new-model", THOUSAND, NOON) is None
    assert "price of a model failed" in caplog.text
    assert usd(book, "gpt-4o", THOUSAND, NOON) == Decimal("0.0035")


def test_repeated_price_is_fast(genai):
    usd(genai, "gpt-4o", THOUSAND, NOON)
    rounds = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            usd(genai, "gpt-4o", THOUSAND, NOON)
        rounds.append((time.perf_counter() - start) / 100)
    assert min(rounds) < 10e-6  # 2 µs on an idle machine


def test_remembered_models_are_limited(genai):
    for number in range(MODELS_MAX + 10):
        usd(genai, f"nobody-{number}", THOUSAND, NOON)
    assert genai._tariffs.cache_info().currsize == MODELS_MAX


# --- a table -------------------------------------------------------------------------------


def test_first_matching_row_wins(tmp_path):
    book = table(
        tmp_path, GPT_4O | {"match": "gpt-4o-mini", "input": "1"}, GPT_4O, GPT_4O | {"input": "7"}
    )
    assert usd(book, "gpt-4o-mini", MILLION, NOON) == 1
    assert usd(book, "GPT-4o-2024", MILLION, NOON) == Decimal("2.5")


def test_row_with_provider_matches_only_that_provider(tmp_path):
    book = table(tmp_path, GPT_4O)
    assert usd(book, "gpt-4o", MILLION, NOON) is not None
    assert usd(book, "ollama/gpt-4o", MILLION, NOON) is None
    assert usd(table(tmp_path, {**GPT_4O, "provider": None}), "ollama/gpt-4o", MILLION, NOON)
    book = table(tmp_path, GPT_4O, {**GPT_4O, "provider": "azure", "input": "7"})
    for prefix in ("azure", "Azure", "azure.ai.openai", "our-proxy/azure"):
        assert usd(book, f"{prefix}/gpt-4o", MILLION, NOON) == 7
    for prefix in ("openai", "our-proxy", "litellm/our-proxy/openai"):
        assert usd(book, f"{prefix}/gpt-4o", MILLION, NOON) == Decimal("2.5")
    named = table(tmp_path, GPT_4O | {"provider": "azure.ai.openai"})
    assert usd(named, "azure.ai.openai/gpt-4o", MILLION, NOON) == Decimal("2.5")
    nested = table(tmp_path, GPT_4O | {"match": "meta/llama-3", "provider": "groq"})
    for prefix in ("", "groq/", "our-proxy/", "our-proxy/groq/"):
        assert usd(nested, f"{prefix}meta/llama-3", MILLION, NOON) == Decimal("2.5")
    assert usd(book, "a/b/c/d/e/openai/gpt-4o", MILLION, NOON) is None


def test_from_is_inclusive_and_to_exclusive(tmp_path):
    row = {
        "match": "m",
        "input": "1",
        "output": "0",
        "from": "2026-03-01",
        "to": "2026-03-02T00:00:00Z",
    }
    book = table(tmp_path, row, {"match": "m", "input": "9", "output": "0"})
    days = [
        datetime(2026, 2, 28, 23, 59, 59, 999999, UTC),
        *(datetime(2026, 3, d, tzinfo=UTC) for d in (1, 2)),
    ]
    assert [usd(book, "m", MILLION, day) for day in days] == [9, 1, 9]
    since = [book.price("m", MILLION, day).since for day in days]
    assert since == [None, days[1], None]


def test_row_may_price_cache_reads_and_writes(tmp_path):
    book = table(tmp_path, GPT_4O | {"cache_read": "0", "cache_write": "8"})
    assert usd(book, "gpt-4o", cached(1_000_000, read=400_000), NOON) == Decimal("1.5")
    assert usd(book, "gpt-4o", cached(1_000_000, written=1_000_000), NOON) == 8


def test_version_depends_on_content(tmp_path):
    one, other = table(tmp_path, GPT_4O).version, table(tmp_path).version
    assert one != other
    assert table(tmp_path, GPT_4O).version == one


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "must be an array"),
        ("[1]", "row 0: must be an object"),
        ('[{"match": "a", "input": "1", "output": "1"}, {}]', "row 1: 'match'"),
        ('[{"match": "a", "input": "1"}]', "row 0: 'output' must be USD"),
        ('[{"match": "a", "input": "-1", "output": "1"}]', "row 0: 'input' must be USD"),
        ('[{"match": "a", "input": "NaN", "output": "1"}]', "row 0: 'input' must be USD"),
        ('[{"match": "a", "input": "1e9", "output": "1"}]', "row 0: 'input' must be USD"),
        ('[{"match": "a", "input": "1", "output": "1", "form": ""}]', "unknown key 'form'"),
        ('[{"match": "a", "input": "1", "output": "1", "cache_read": null}]', "'cache_read' must"),
        ('[{"match": "a", "input": "1", "output": "1", "from": "May"}]', "'from' must be a date"),
        ('[{"match": "a", "input": "1", "output": "1", "provider": []}]', "'provider' must be"),
        ("\ud800", "not JSON"),
        ("[]" + " " * (1 << 20), "larger than"),
    ],
)
def test_invalid_table_is_reported_with_location(tmp_path, text, message):
    path = tmp_path / "wrong.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(PriceTableError, match=r"wrong\.json") as caught:
        TablePriceBook.from_file(path)
    assert message in str(caught.value)


def test_missing_table_is_reported(tmp_path):
    with pytest.raises(PriceTableError, match="No such file"):
        TablePriceBook.from_file(tmp_path / "none.json")
