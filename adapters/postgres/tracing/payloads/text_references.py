"""References of new traces to texts that are shared already, in place of repeating them.

The writer of a trace finds its long texts, and asks once which are shared. It stores the trace with
references, notes them, and locks the texts against removal (`shared_texts.py`).
"""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import Connection, Pool
from adapters.postgres.database.tenants import within
from adapters.postgres.tracing.payloads.payload_text import (
    BLOCK_BYTES_MAX,
    COMPRESSED_ON_LOOP_MAX,
    NewText,
    TraceKey,
)
from adapters.postgres.tracing.payloads.shared_texts import (
    SELECT_TEXTS,
    is_frame_of,
    lock_texts,
    note_long_texts,
)
from application.concurrency import compute
from domain.errors import Unavailable
from domain.ids import ProjectId, TraceId

KNOWN_MAX: Final = 10_000  # texts whose state is kept
UNSHARED_FOR_S: Final = 60.0  # before it is asked again whether a text is shared

type TextKey = tuple[ProjectId, UUID]


class TextsRemoved(Unavailable):
    """Texts were removed, or damaged, since they were found: traces have to be compressed again."""

    def __init__(self, keys: Collection[TextKey]) -> None:
        super().__init__("A text of this trace is being removed; try again")
        self.keys = keys


@dataclass(frozen=True, slots=True)
class References:
    """Texts that new traces refer to, by trace; `waiting` have other long texts, for a worker."""

    texts: Mapping[TraceKey, Mapping[UUID, bytes]] = field(default_factory=dict)
    waiting: Collection[TraceId] = ()

    async def note(self, connection: Connection, new: Collection[TraceKey]) -> None:
        """Notes them, in the transaction that inserted the traces. Raises TextsRemoved."""
        rows: dict[ProjectId, list[tuple[TraceId, UUID]]] = defaultdict(list)
        by_project: dict[ProjectId, dict[UUID, bytes]] = defaultdict(dict)
        for (project, trace), texts in self.texts.items():
            if (project, trace) in new:
                rows[project] += [(trace, id_) for id_ in texts]
                by_project[project].update(texts)
        removed: list[TextKey] = []
        for project, texts in by_project.items():
            await note_long_texts(connection, project, rows[project])
            frames = await lock_texts(connection, project, texts)
            removed += [
                (project, id_)
                for id_, text in texts.items()
                if id_ not in frames or not is_frame_of(frames[id_], text)
            ]
        if removed:  # all of them: there are few rounds
            raise TextsRemoved(removed)


NO_REFERENCES: Final = References()


@dataclass(slots=True)
class KnownTexts:
    """Which texts are shared, as far as this process has asked."""

    clock: Callable[[], float] = time.monotonic
    _asked: OrderedDict[TextKey, float | None] = field(default_factory=OrderedDict)
    # None for a shared text; for another, when it was found not to be

    async def find(self, pool: Pool, texts: Mapping[TraceKey, NewText]) -> References:
        """Finds the long texts of traces, and which of them are shared."""
        long = {key: text for key, text in texts.items() if text.long_values}
        if not long:
            return NO_REFERENCES
        is_long = sum(text.size for text in long.values()) > COMPRESSED_ON_LOOP_MAX
        found = await compute(_find_all, long, is_long=is_long)
        await self._ask(pool, found)
        shared = {
            key: {id_: text for id_, text in some.items() if self._is_shared(key[0], id_)}
            for key, some in found.items()
        }
        waiting = [key[1] for key in long if key not in found or len(shared[key]) < len(found[key])]
        return References({key: some for key, some in shared.items() if some}, waiting)

    def forget(self, keys: Iterable[TextKey]) -> None:
        for key in keys:
            self._asked.pop(key, None)

    def _is_shared(self, project: ProjectId, id_: UUID) -> bool:
        return self._asked.get((project, id_), 0.0) is None

    async def _ask(self, pool: Pool, found: Mapping[TraceKey, Mapping[UUID, bytes]]) -> None:
        """Asks for texts that aren't known. One whose stored frame is damaged isn't shared."""
        now, unknown = self.clock(), dict[ProjectId, dict[UUID, bytes]]()
        for (project, _), texts in found.items():
            for id_, text in texts.items():
                asked = self._asked.get((project, id_), now - UNSHARED_FOR_S)
                if asked is not None and asked <= now - UNSHARED_FOR_S:
                    unknown.setdefault(project, {})[id_] = text
        for project, some in unknown.items():
            rows = await within(pool, project).fetch(SELECT_TEXTS, project, sorted(some))
            shared = {
                row["text_id"] for row in rows if is_frame_of(row["frame"], some[row["text_id"]])
            }
            for id_ in some:
                self._asked[project, id_] = None if id_ in shared else now
                self._asked.move_to_end((project, id_))
        while len(self._asked) > KNOWN_MAX:
            self._asked.popitem(last=False)


def _find_all(texts: Mapping[TraceKey, NewText]) -> dict[TraceKey, dict[UUID, bytes]]:
    """The long texts of those that are one block."""
    return {
        key: text.long_texts(key[0]) for key, text in texts.items() if text.size <= BLOCK_BYTES_MAX
    }
