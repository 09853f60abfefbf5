"""Bodies in one of several media types, which their endpoint decodes itself."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from entrypoints.http.config import HttpConfig
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.body_io import media_type_of


@dataclass(frozen=True, slots=True)
class RawBody[B]:
    """How the body of a request becomes a `B`: by `decode`, from its bytes without a coding.

    `media_types` are the accepted ones, each with the type that documents it, or None for binary
    data. `size_setting` is the field of HttpConfig that bounds the body.
    """

    media_types: Mapping[str, Any]
    size_setting: str
    decode: Callable[[HttpRequest, bytes], Awaitable[B]]

    def accepts(self, content_type: str | None) -> bool:
        return content_type is not None and media_type_of(content_type) in self.media_types

    def size_max(self, config: HttpConfig) -> int:
        size_max: int = getattr(config, self.size_setting)
        return size_max
