"""Frames of zstd, in which payloads are stored. They have their size, and a checksum.

With a dictionary, a frame refers to texts that are stored elsewhere, in place of repeating them:
see `shared_texts.py`.
"""

import threading
from collections.abc import Sequence
from typing import Final

import zstandard

JOINED_BYTES_MAX: Final = 256 << 10  # of text that is compressed at once: 6 to 13 % quicker
_LEVEL: Final = 1  # of zstd; level 3 saves 1 to 5 % and takes 1.2 to 1.5 times as long
# With a dictionary: level 1 doesn't find what is further than 512 KiB away.
_DICTIONARY_LEVEL: Final = 3
# The size of texts that the level's own tables remember. They forget what comes before.
_DICTIONARY_BYTES_MAX: Final = 1 << 20
_LARGER_TABLES_LOG: Final = 18  # for 2 MiB; it takes 1.5 ms longer

_codecs: Final = threading.local()  # neither may be used by two threads at once


def compressed(parts: Sequence[bytes | memoryview], size: int) -> bytes:
    """A frame of the parts, of `size` bytes in all.

    What the library makes of a whole text keeps the memory of the worst case, which is as much as
    the text: a small one is copied, and a large one is compressed part by part.
    """
    if size <= JOINED_BYTES_MAX:
        return bytes(memoryview(compressor().compress(b"".join(parts))))
    stream = compressor().compressobj(size=size)
    return b"".join([*map(stream.compress, parts), stream.flush()])


def compressed_with(texts: Sequence[bytes], text: bytes | memoryview) -> bytes:
    """A frame that can only be read with the same texts, in the same order."""
    known, size = _dictionary(texts), sum(map(len, texts))
    if size <= _DICTIONARY_BYTES_MAX:
        codec = zstandard.ZstdCompressor(
            level=_DICTIONARY_LEVEL, write_checksum=True, dict_data=known
        )
    else:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _DICTIONARY_LEVEL,
            source_size=len(text),
            dict_size=size,
            hash_log=_LARGER_TABLES_LOG,
            chain_log=_LARGER_TABLES_LOG,
            write_checksum=True,
        )
        codec = zstandard.ZstdCompressor(compression_params=parameters, dict_data=known)
    return bytes(memoryview(codec.compress(text)))


def decompressed_with(texts: Sequence[bytes], frame: bytes) -> bytes:
    """The text of a frame. Without texts, it is one of `compressed`. Raises ZstdError.

    It takes the memory that the frame says it has.
    """
    codec = decompressor()
    if texts:
        codec = zstandard.ZstdDecompressor(dict_data=_dictionary(texts))
    return codec.decompress(frame, allow_extra_data=False)


def _dictionary(texts: Sequence[bytes]) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(b"".join(texts), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def compressor() -> zstandard.ZstdCompressor:
    """The one of this thread, without a dictionary."""
    found: zstandard.ZstdCompressor | None = getattr(_codecs, "compressor", None)
    if found is None:
        found = _codecs.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return found


def decompressor() -> zstandard.ZstdDecompressor:
    """The one of this thread, without a dictionary."""
    found: zstandard.ZstdDecompressor | None = getattr(_codecs, "decompressor", None)
    if found is None:
        found = _codecs.decompressor = zstandard.ZstdDecompressor()
    return found
