"""The stored form of the index: terms of a trace, and postings of a segment in buckets.

A term has 26 bits: the first ten are its bucket, the others tell the terms of a bucket apart. The
postings of a bucket are a list of its terms and, for each, the places in the segment of the traces
that have it: one place, a list of distances, or a bit for each trace.
"""

import struct
import sys
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from domain.tracing.search.search_terms import TERM_BITS

SEGMENT_TRACES: Final = 1_024  # of a segment: a request looks into as many that are in none
SEGMENT_TERMS_MAX: Final = 4_000_000  # of all traces of a segment, which are in memory together
REST_BITS: Final = 16
BUCKETS: Final = 1 << (TERM_BITS - REST_BITS)
BUCKETS_AT_ONCE: Final = 64

_REST_MASK: Final = (1 << REST_BITS) - 1
_BITMAP_BYTES: Final = SEGMENT_TRACES // 8
_BITMAP: Final = 0  # in place of the length of a list
_FAR: Final = 255  # a distance goes on in the next byte
_TERMS_MAX: Final = 60_000  # of a bucket: no ordinary text has a tenth of them in one
_FULL: Final = b"\xff\xff"  # in place of so many terms: every trace may have every term
_EVERY_PLACE: Final = (1 << SEGMENT_TRACES) - 1

type Places = int
"""A set of places in a segment: a bit for each."""


def pack_terms(terms: Iterable[int]) -> bytes:
    """The terms of a trace, in order: a term is found in them by its bytes."""
    ordered = sorted(terms)
    return struct.pack(f">{len(ordered)}I", *ordered)


def unpack_terms(packed: bytes) -> Sequence[int]:
    terms = array("I", packed)
    if sys.byteorder == "little":
        terms.byteswap()
    return terms


def pack_term(term: int) -> bytes:
    return struct.pack(">I", term)


def bucket_of(term: int) -> int:
    return term >> REST_BITS


def build_postings(traces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The buckets of a segment, of the packed terms of its traces in order.

    Some buckets at a time, since a term in a dict takes fifty times as much memory.
    """
    terms_of = [unpack_terms(packed) for packed in traces]
    for first in range(0, BUCKETS, BUCKETS_AT_ONCE):
        low, high = first << REST_BITS, (first + BUCKETS_AT_ONCE) << REST_BITS
        places = defaultdict[int, list[int]](list)
        for place, terms in enumerate(terms_of):
            for term in terms[bisect_left(terms, low) : bisect_left(terms, high)]:
                places[term].append(place)
        by_bucket = groupby(sorted(places), key=bucket_of)
        for bucket, some in by_bucket:
            yield bucket, _encode([(term & _REST_MASK, places[term]) for term in some])


def find_term(postings: bytes, term: int) -> Places:
    """The places of the traces that have the term, of the postings of its bucket."""
    if postings == _FULL:
        return _EVERY_PLACE
    [count] = struct.unpack_from("<H", postings)
    rests = struct.unpack_from(f"<{count}H", postings, 2)
    rest = term & _REST_MASK
    number = bisect_left(rests, rest)
    if number == count or rests[number] != rest:
        return 0
    place: int = struct.unpack_from("<H", postings, 2 + 2 * count + 2 * number)[0]
    if place < SEGMENT_TRACES:
        return 1 << place
    at = 2 + 4 * count
    for _ in range(place - SEGMENT_TRACES):
        at += 1 + (postings[at] or _BITMAP_BYTES)
    return _places_at(postings, at)[0]


def without_places(postings: bytes, gone: Places) -> bytes | None:
    """The postings without some traces: None if nothing is left, unchanged if none was there."""
    if postings == _FULL:
        return postings
    [count] = struct.unpack_from("<H", postings)
    rests = struct.unpack_from(f"<{count}H", postings, 2)
    refs = struct.unpack_from(f"<{count}H", postings, 2 + 2 * count)
    at, is_same = 2 + 4 * count, True
    terms: list[tuple[int, list[int]]] = []
    for rest, ref in zip(rests, refs, strict=True):
        if ref < SEGMENT_TRACES:
            places = 1 << ref
        else:
            places, at = _places_at(postings, at)
        if places & gone:
            is_same = False
            places &= ~gone
        if places:
            terms.append((rest, list_places(places)))
    if is_same:
        return postings
    return _encode(terms) if terms else None


def list_places(places: Places) -> list[int]:
    """The places in order."""
    found = []
    while places:
        lowest = places & -places
        found.append(lowest.bit_length() - 1)
        places ^= lowest
    return found


def _encode(terms: Sequence[tuple[int, Sequence[int]]]) -> bytes:
    if len(terms) > _TERMS_MAX:
        return _FULL
    refs, lists = list[int](), list[bytes]()
    for _, places in terms:
        if len(places) == 1:
            refs.append(places[0])
        else:
            refs.append(SEGMENT_TRACES + len(lists))
            lists.append(_encode_places(places))
    count = len(terms)
    rests = [rest for rest, _ in terms]
    return struct.pack(f"<{1 + 2 * count}H", count, *rests, *refs) + b"".join(lists)


def _encode_places(places: Sequence[int]) -> bytes:
    if len(places) < _BITMAP_BYTES:
        distances, last = bytearray(1), 0
        for place in places:
            distance = place - last
            while distance >= _FAR:
                distances.append(_FAR)
                distance -= _FAR
            distances.append(distance)
            last = place
        if len(distances) <= _BITMAP_BYTES:
            distances[0] = len(distances) - 1
            return bytes(distances)
    bits = 0
    for place in places:
        bits |= 1 << place
    return bytes([_BITMAP]) + bits.to_bytes(_BITMAP_BYTES, "little")


def _places_at(postings: bytes, at: int) -> tuple[Places, int]:
    """The places of the list at `at`, and where the next list is."""
    length = postings[at]
    at += 1
    if length == _BITMAP:
        return int.from_bytes(postings[at : at + _BITMAP_BYTES], "little"), at + _BITMAP_BYTES
    places, place = 0, 0
    for distance in postings[at : at + length]:
        place += distance
        if distance != _FAR:
            places |= 1 << place
    return places, at + length


# --- the traces of a segment ---

TRACE_BYTES: Final = 24  # its id and its start
_TRACE: Final = struct.Struct(">16sq")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def since_epoch_us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def from_epoch_us(us: int) -> datetime:
    return _EPOCH + us * _MICROSECOND


def pack_traces(traces: Iterable[tuple[bytes, int]]) -> bytes:
    """Ids and starts in microseconds, by place."""
    return b"".join(_TRACE.pack(*one) for one in traces)


def unpack_trace(packed: bytes) -> tuple[bytes, int]:
    id_, started_us = _TRACE.unpack(packed)
    return id_, started_us


def without_traces(packed: bytes, gone: Iterable[int]) -> bytes:
    """The traces of a segment, with zeros in the places of some."""
    found = bytearray(packed)
    for place in gone:
        found[place * TRACE_BYTES : (place + 1) * TRACE_BYTES] = bytes(TRACE_BYTES)
    return bytes(found)


def places_of(packed: bytes, traces: Iterable[bytes]) -> Mapping[bytes, int]:
    """The places of the traces that are in the segment."""
    wanted = set(traces)
    ids = (packed[at : at + 16] for at in range(0, len(packed), TRACE_BYTES))
    return {id_: place for place, id_ in enumerate(ids) if id_ in wanted}
