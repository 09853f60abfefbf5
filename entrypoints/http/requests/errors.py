"""Errors that are found while a request is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from domain.errors import FieldError, Invalid

FIELD_ERRORS_MAX: Final = 100  # of one response
IGNORED_SHOWN_MAX: Final = 10  # paths of ignored keys, of one request
KEY_SHOWN_CHARS: Final = 200  # of a key that the caller chose, in the path of an error
ANY_KEY: Final = "<key>"  # stands for such a key where errors are stored


class HttpProblem(Exception):  # noqa: N818 - not a fault of ours, as the domain's failures
    """An error that only HTTP knows: syntax, size, media type, range."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class ClientDisconnected(Exception):  # noqa: N818 - nothing of ours went wrong
    """The client closed the connection before its request was complete."""


@dataclass(slots=True)
class IgnoredFields:
    """The keys of one request that were ignored: their number, and the first paths."""

    count: int = 0
    paths: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.paths) < IGNORED_SHOWN_MAX:
            self.paths.append(path)

    def extend(self, others: "IgnoredFields", prefix: str = "") -> None:
        self.count += others.count
        room = IGNORED_SHOWN_MAX - len(self.paths)
        self.paths.extend(f"{prefix}{path}" for path in others.paths[:room])


@dataclass(frozen=True, slots=True)
class PostponedError(FieldError):
    """One for `FieldErrors.postponed`, of the hook `field_errors` of a wire type."""


class FieldErrors:
    """Collects the field errors of one request, so that one response reports all of them.

    `postponed` are errors that the rules of the operation find too, together with others that need
    the database: they are reported here only if `found` has some as well. `ignored` collects the
    keys that are ignored without an error.
    """

    __slots__ = ("_chosen", "found", "ignored", "postponed")

    def __init__(self) -> None:
        self._chosen: tuple[str, str] | None = None
        self.found: list[FieldError] = []
        self.postponed: list[FieldError] = []
        self.ignored = IgnoredFields()

    @contextmanager
    def below_chosen_key(self, path: str, kept_path: str) -> Iterator[None]:
        """Errors at `path` and below it are stored with `kept_path`, which has no chosen key."""
        before, self._chosen = self._chosen, (path, kept_path)
        try:
            yield
        finally:
            self._chosen = before

    def add(
        self,
        field: str,
        message: str,
        *,
        is_semantic: bool = False,
        kept_field: str | None = None,
    ) -> None:
        """Raises Invalid once there are FIELD_ERRORS_MAX of them."""
        if self._chosen is not None:
            path, kept_path = self._chosen
            kept_field = kept_path + field.removeprefix(path)
        self.found.append(FieldError(field, message, is_semantic, kept_field))
        if len(self.found) >= FIELD_ERRORS_MAX:
            self.check()

    def postpone(self, field: str, message: str, *, is_semantic: bool) -> None:
        """Keeps at most FIELD_ERRORS_MAX of them."""
        if len(self.postponed) < FIELD_ERRORS_MAX:
            self.postponed.append(FieldError(field, message, is_semantic))

    def check(self) -> None:
        """Raises Invalid if there are any, apart from those that are postponed."""
        if self.found:
            raise Invalid.fields([*self.found, *self.postponed][:FIELD_ERRORS_MAX])
