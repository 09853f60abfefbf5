"""One test for many values: quicker than one test for each, and it lists all failures."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from tests.support.hypothesis_scale import sampled

FEW: Final = 20  # values in `make check`

type Check = Callable[..., None]


def for_each(
    things: Iterable[Any] | Callable[[], Iterable[Any]], name: Callable[[Any], str] = str
) -> Callable[[Check], Check]:
    """Make one test that runs a check for each value and lists the failures by `name`.

    Values that take long to find come from a function: every process collects every test.
    """
    given = things if callable(things) else list(things)

    def test_of(check: Check) -> Check:
        def test() -> None:
            known = list(given() if callable(given) else given)
            assert known
            problems: dict[str, str] = {}
            for thing in known:
                try:
                    check(*thing) if isinstance(thing, tuple) else check(thing)
                except AssertionError as problem:
                    problems[name(thing)] = str(problem)
            assert problems == {}

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return test_of


async def problems_of[T](
    things: Iterable[T], check: Callable[[T], Awaitable[None]], name: Callable[[T], str] = str
) -> dict[str, str]:
    """Runs an asynchronous check for each value. Returns the failures by `name`.

    In `make check` it runs for FEW values.
    """
    known = list(things)
    assert known
    found = {}
    for thing in sampled(known, FEW, 0):
        try:
            await check(thing)
        except Exception as problem:
            found[name(thing)] = repr(problem)
    return found
