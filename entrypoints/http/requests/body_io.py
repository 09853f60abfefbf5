"""What happens to bytes on their way: how large, in which coding, of which media type."""

import asyncio
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import zstandard
from litestar.types import Receive

JSON: Final = "application/json"
BODY_S: Final = 60.0  # for a body to come; 20 MB in it are 3 Mbit/s
COMPRESS_FROM: Final = 1024  # bytes; less hardly shrinks
THREAD_FROM: Final = 128 << 10  # bytes; more would hold up every other request for milliseconds
WINDOW_MAX: Final = 8 << 20  # bytes; what RFC 8878 asks of every decoder, and no more memory
FRAMES_MAX: Final = 64  # a stream may hold several frames; each costs a copy of what follows

CODINGS: Final = ("gzip", "deflate", "zstd")


class TooLarge(Exception):  # noqa: N818 - becomes a Problem where it is answered
    pass


class Slow(Exception):  # noqa: N818 - becomes a Problem where it is answered
    """The body didn't come in time."""


class Broken(Exception):  # noqa: N818 - becomes a Problem where it is answered
    """The bytes aren't what their coding says."""


def is_json(content_type: str | None) -> bool:
    """Whether a body of this Content-Type is read; one without any is taken for JSON."""
    if content_type is None:
        return True
    media = content_type.partition(";")[0].strip().lower()
    return media == JSON or (media.startswith("application/") and media.endswith("+json"))


async def received(
    receive: Receive, size_max: int, take: Callable[[int], None], within_s: float = BODY_S
) -> bytes | None:
    """The whole body; None where the client hung up before its end.

    `take` makes room for each part, and may raise. Raises TooLarge, Slow.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(within_s) as limit:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > size_max:
                    raise TooLarge
                take(len(chunk))
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError as error:
        if limit.expired():
            raise Slow from error
        raise


async def inflated(data: bytes, coding: str, size_max: int) -> bytes:
    """What `data` holds, never more than `size_max` bytes. Raises TooLarge, Broken."""
    inflate = _zstd if coding == "zstd" else _zlib
    if len(data) < THREAD_FROM // 16:  # bytes that are all zero grow a thousandfold
        return inflate(data, coding, size_max)
    return await asyncio.to_thread(inflate, data, coding, size_max)


def _zlib(data: bytes, coding: str, size_max: int) -> bytes:
    window = 31 if coding == "gzip" else 15
    if coding == "deflate" and not _has_zlib_header(data):
        window = -15  # some clients send it bare
    parts: list[bytes] = []
    left = size_max
    for _ in range(FRAMES_MAX):
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(data, left + 1)
        except zlib.error as error:
            raise Broken from error
        left -= len(part)
        if left < 0:
            raise TooLarge
        if not stream.eof:
            raise Broken
        parts.append(part)
        data = stream.unused_data
        if not data:
            return b"".join(parts)
        if coding == "deflate":
            break
    raise Broken


def _has_zlib_header(data: bytes) -> bool:
    return len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0  # noqa: PLR2004 - RFC 1950, 2.2


def _zstd(data: bytes, _: str, size_max: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX)
    try:
        # Only the reader is bounded, and only the other interface tells where a frame is cut off.
        with decompressor.stream_reader(data, read_across_frames=True) as reader:
            whole = reader.read(size_max + 1)
        if len(whole) > size_max:
            raise TooLarge
        for _frame in range(FRAMES_MAX):
            frame = decompressor.decompressobj()
            frame.decompress(data)
            if not frame.eof:
                break
            data = frame.unused_data
            if not data:
                return whole
    except zstandard.ZstdError as error:
        raise Broken from error
    raise Broken


def compressed(
    body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> tuple[bytes, Mapping[str, str]]:
    """The body in the coding that the request's headers ask for, and the headers that say so."""
    if len(body) < COMPRESS_FROM:
        return body, {}
    coding = wanted_coding(headers)
    if coding is None:
        return body, {"vary": "Accept-Encoding"}
    return whole_as(coding, body), {"vary": "Accept-Encoding", "content-encoding": coding}


def whole_as(coding: str, body: bytes) -> bytes:
    """The body in `zstd` or `gzip`."""
    if coding == "zstd":
        return zstandard.ZstdCompressor().compress(body)
    stream = zlib.compressobj(5, zlib.DEFLATED, 31)
    return stream.compress(body) + stream.flush()


async def compressed_aside(
    body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> tuple[bytes, Mapping[str, str]]:
    """As `compressed`, and large bodies hold up nobody else."""
    if len(body) < THREAD_FROM:
        return compressed(body, headers)
    return await asyncio.to_thread(compressed, body, headers)


def wanted_coding(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The coding of ours that `Accept-Encoding` rates highest; zstd where it rates them equal."""
    asked = ",".join(
        value.decode("latin-1") for name, value in headers if name == b"accept-encoding"
    )
    best, best_weight = None, 0.0
    for entry in asked.lower().split(","):
        coding, _, parameters = entry.partition(";")
        coding = coding.strip()
        if coding not in {"gzip", "zstd"}:
            continue
        weight = _weight(parameters)
        if weight > best_weight or (weight == best_weight and coding == "zstd"):
            best, best_weight = coding, weight
    return best if best_weight > 0 else None


def _weight(parameters: str) -> float:
    _, is_given, text = parameters.partition("q=")
    try:
        return float(text.strip()) if is_given else 1.0
    except ValueError:
        return 0.0


class Coder:
    """Codes a body piece by piece, in `zstd`, in `gzip`, or not at all."""

    def __init__(self, coding: str | None) -> None:
        if coding == "zstd":
            self._code: Any = zstandard.ZstdCompressor().compressobj()
        else:
            self._code = zlib.compressobj(5, zlib.DEFLATED, 31) if coding == "gzip" else None

    async def more(self, chunk: bytes) -> bytes:
        """What can be sent by now, which may be nothing; large chunks hold up nobody else."""
        if self._code is None:
            return chunk
        if len(chunk) < THREAD_FROM:
            return cast("bytes", self._code.compress(chunk))
        return await asyncio.to_thread(self._code.compress, chunk)

    def rest(self) -> bytes:
        return b"" if self._code is None else cast("bytes", self._code.flush())
