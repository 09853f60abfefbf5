"""Reads, decompresses and compresses bodies: size limits, codings, media types."""

import asyncio
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, Final, cast

import zstandard
from litestar.types import Receive

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
BODY_TIMEOUT_S: Final = 60.0  # for a whole body; 20 MB in it are 3 Mbit/s
BODY_STEP_TIMEOUT_S: Final = 5.0  # for the next BODY_STEP_BYTES, or the rest of the body
BODY_STEP_BYTES: Final = 20_000  # with the timeout a least speed of 4 kB/s
BODY_TOO_SLOW: Final = (
    f"The body has to arrive at {BODY_STEP_BYTES / BODY_STEP_TIMEOUT_S / 1_000:g} kB/s at least, "
    f"and within {BODY_TIMEOUT_S:g} s"
)
# An extension of the ASGI scope: the body is one message, as gRPC gives it. Its size and its coding
# are known once it has arrived.
MESSAGE_EXTENSION: Final = "pandaprobe.message"
GZIP_MAGIC: Final = b"\x1f\x8b"  # which no message in protobuf begins with
COMPRESSED_MIN_BYTES: Final = 1024  # smaller bodies hardly shrink
THREAD_MIN_BYTES: Final = 128 << 10  # larger ones would delay every other request by milliseconds
ZSTD_WINDOW_MAX_BYTES: Final = 8 << 20  # every decoder has to support it (RFC 8878)
FRAMES_MAX: Final = 64  # a stream may contain several frames; each costs a copy of the rest
# A decoder collects its output in blocks and joins them, which takes the memory of a body twice.
DECOMPRESS_STEP_BYTES: Final = 256 << 10
INFLATE_INPUT_STEP_BYTES: Final = 64 << 10  # each step copies what is left of it
ZSTD_INPUT_STEP_BYTES: Final = 1 << 10  # becomes 32 MiB at most

REQUEST_CODINGS: Final = ("gzip", "deflate", "zstd")

# The size of a body, and so the memory to reserve for it, isn't known before it is decompressed. On
# many cores the usual pool of threads would take 2 GiB for as many bodies of 64 MiB.
DECOMPRESSED_AT_ONCE_MAX: Final = 4
_DECOMPRESSION: Final = ThreadPoolExecutor(DECOMPRESSED_AT_ONCE_MAX, "decompression")


class BodyTooLarge(Exception):  # noqa: N818 - becomes an HttpProblem
    pass


class BodyTimeout(Exception):  # noqa: N818 - becomes an HttpProblem
    """The body didn't arrive in time."""


class InvalidCoding(Exception):  # noqa: N818 - becomes an HttpProblem
    """The bytes are not valid in the coding that was declared."""


def is_json(content_type: str | None) -> bool:
    """Whether a body of this Content-Type is read. Without a Content-Type it is taken for JSON."""
    if content_type is None:
        return True
    media = media_type_of(content_type)
    return media == JSON or (media.startswith("application/") and media.endswith("+json"))


def media_type_of(content_type: str) -> str:
    """The media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


async def read_body(
    receive: Receive,
    size_max: int,
    reserve: Callable[[int], None],
    timeout_s: float = BODY_TIMEOUT_S,
    step_timeout_s: float = BODY_STEP_TIMEOUT_S,
) -> bytes | None:
    """The whole body; None if the client disconnected before its end.

    `reserve` is called with the size of each chunk, and may raise. Raises BodyTooLarge and
    BodyTimeout.
    """
    body = _ReceivedBody()
    size = step_end = 0
    now = asyncio.get_running_loop().time
    deadline = now() + timeout_s
    try:
        async with asyncio.timeout(None) as limit:
            while True:
                if size >= step_end:
                    step_end = size + BODY_STEP_BYTES
                    limit.reschedule(min(deadline, now() + step_timeout_s))
                message = await receive()
                if message["type"] != "http.request":
                    return None
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > size_max:
                    raise BodyTooLarge
                reserve(len(chunk))
                body.add(chunk)
                if not message.get("more_body", False):
                    return body.whole()
    except TimeoutError as error:
        if limit.expired():
            raise BodyTimeout from error
        raise


class _ReceivedBody:
    """The chunks of a body, in one piece: joining them at the end would hold them twice."""

    def __init__(self) -> None:
        self._first = b""
        self._whole: BytesIO | None = None  # grows in place, and gives its bytes without a copy

    def add(self, chunk: bytes) -> None:
        if self._whole is not None:
            self._whole.write(chunk)
        elif not self._first:
            self._first = chunk
        elif chunk:
            self._whole = BytesIO()
            self._whole.write(self._first)
            self._whole.write(chunk)
            self._first = b""

    def whole(self) -> bytes:
        return self._first if self._whole is None else self._whole.getvalue()


async def decompress(data: bytes, coding: str, size_max: int) -> bytes:
    """`data` without its coding, at most `size_max` bytes. Raises BodyTooLarge, InvalidCoding."""
    decode = _decompress_zstd if coding == "zstd" else _decompress_zlib
    if len(data) < THREAD_MIN_BYTES // 16:  # runs of zero bytes grow a thousandfold
        return decode(data, coding, size_max)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_DECOMPRESSION, decode, data, coding, size_max)


def _decompress_zlib(data: bytes, coding: str, size_max: int) -> bytes:
    window = 31 if coding == "gzip" else 15
    if coding == "deflate" and not _has_zlib_header(data):
        window = -15  # some clients send raw deflate
    whole, rest = BytesIO(), memoryview(data)
    for _ in range(FRAMES_MAX):
        stream = zlib.decompressobj(window)
        try:
            rest = _inflate(stream, rest, whole, size_max)
        except zlib.error as error:
            raise InvalidCoding from error
        if not rest:
            return whole.getvalue()
        if coding == "deflate":
            break
    raise InvalidCoding


def _inflate(stream: Any, data: memoryview, whole: BytesIO, size_max: int) -> memoryview:
    """Adds one stream to `whole`, and returns what comes after it in `data`.

    Raises BodyTooLarge, InvalidCoding, zlib.error.
    """
    at = 0
    while not stream.eof and (at < len(data) or stream.unconsumed_tail):
        source = stream.unconsumed_tail
        if not source:
            source = data[at : at + INFLATE_INPUT_STEP_BYTES]
            at += len(source)
        _append(whole, stream.decompress(source, DECOMPRESS_STEP_BYTES), size_max)
    if not stream.eof:
        raise InvalidCoding
    return data[at - len(stream.unused_data) :]


def _append(whole: BytesIO, part: bytes, size_max: int) -> None:
    if whole.tell() + len(part) > size_max:
        raise BodyTooLarge
    whole.write(part)


def _has_zlib_header(data: bytes) -> bool:
    return len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0  # noqa: PLR2004 - RFC 1950, 2.2


def _decompress_zstd(data: bytes, _: str, size_max: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX_BYTES)
    whole = BytesIO()
    try:
        # Only the reader bounds its output, and only decompressobj detects a truncated frame.
        with decompressor.stream_reader(data, read_across_frames=True) as reader:
            while part := reader.read(DECOMPRESS_STEP_BYTES):
                _append(whole, part, size_max)
        _check_zstd_frames(decompressor, data)
    except zstandard.ZstdError as error:
        raise InvalidCoding from error
    return whole.getvalue()


def _check_zstd_frames(decompressor: zstandard.ZstdDecompressor, data: bytes) -> None:
    """Raises InvalidCoding if the last frame is truncated, or if there are too many."""
    frames = 1
    frame = decompressor.decompressobj()
    for start in range(0, len(data), ZSTD_INPUT_STEP_BYTES):
        chunk = data[start : start + ZSTD_INPUT_STEP_BYTES]
        while chunk:
            if frame.eof:
                frames += 1
                frame = decompressor.decompressobj()
            if frames > FRAMES_MAX:
                raise InvalidCoding
            frame.decompress(chunk)
            chunk = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise InvalidCoding


def compress(
    body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> tuple[bytes, Mapping[str, str]]:
    """The body in the coding that the request accepts, and the response headers for it."""
    if len(body) < COMPRESSED_MIN_BYTES:
        return body, {}
    coding = negotiate_coding(headers)
    if coding is None:
        return body, {"vary": "Accept-Encoding"}
    return compress_as(coding, body), {"vary": "Accept-Encoding", "content-encoding": coding}


def compress_as(coding: str, body: bytes) -> bytes:
    """The body in `zstd` or `gzip`."""
    if coding == "zstd":
        return zstandard.ZstdCompressor().compress(body)
    stream = zlib.compressobj(5, zlib.DEFLATED, 31)
    return stream.compress(body) + stream.flush()


async def compress_off_loop(
    body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> tuple[bytes, Mapping[str, str]]:
    """As `compress`; large bodies are compressed in a thread, so that they delay no request."""
    if len(body) < THREAD_MIN_BYTES:
        return compress(body, headers)
    return await asyncio.to_thread(compress, body, headers)


def negotiate_coding(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The supported coding with the highest weight in `Accept-Encoding`; zstd before gzip."""
    accepted = ",".join(
        value.decode("latin-1") for name, value in headers if name == b"accept-encoding"
    )
    best, best_weight = None, 0.0
    for entry in accepted.lower().split(","):
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


class StreamCompressor:
    """Compresses a body chunk by chunk, in `zstd` or `gzip`; with None it stays as it is."""

    def __init__(self, coding: str | None) -> None:
        if coding == "zstd":
            self._stream: Any = zstandard.ZstdCompressor().compressobj()
        else:
            self._stream = zlib.compressobj(5, zlib.DEFLATED, 31) if coding == "gzip" else None

    async def compress(self, chunk: bytes) -> bytes:
        """The output so far, which may be empty; large chunks are compressed in a thread."""
        if self._stream is None:
            return chunk
        if len(chunk) < THREAD_MIN_BYTES:
            return cast("bytes", self._stream.compress(chunk))
        return await asyncio.to_thread(self._stream.compress, chunk)

    def flush(self) -> bytes:
        return b"" if self._stream is None else cast("bytes", self._stream.flush())
