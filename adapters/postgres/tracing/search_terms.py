"""What a trace is found by beside its columns: tags, models and metadata, as one list of numbers.

A term is 64 bits of a hash with the project in it, so one inverted index serves every project
and no list of a common term runs across projects. Two texts may share a term: who searches
looks at the columns too. The tests compute the same in SQL.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from adapters.postgres.tracing.facets import SEPARATOR, Counted, Facet
from domain.ids import ProjectId

MANY: Final = ""  # instead of the terms of members, where there are too many of them

REMEMBERED_MAX: Final = 10_000  # tags and models, which are short and come again and again


def term(project: ProjectId, kind: Facet, *value: str) -> int:
    """A signed 64-bit number."""
    text = SEPARATOR.join((str(project), kind, *value))
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], signed=True)


@lru_cache(REMEMBERED_MAX)
def _label_term(project: ProjectId, kind: Facet, label: str) -> int:
    return term(project, kind, label)


def metadata_terms(project: ProjectId, key: str, texts: Sequence[str]) -> list[int]:
    """The terms of which a trace has one, if `key` of its metadata is one of `texts`."""
    return [
        *(term(project, Facet.METADATA, key, text) for text in texts),
        term(project, Facet.METADATA, MANY),
    ]


def trace_terms(counted: Counted) -> list[int]:
    """All terms of a trace."""
    project = counted.project
    found = [_label_term(project, Facet.TAG, tag) for tag in dict.fromkeys(counted.trace.tags)]
    found += [_label_term(project, Facet.MODEL, model) for model in counted.models]
    if counted.has_many_members:
        found.append(term(project, Facet.METADATA, MANY))
    else:
        found += [term(project, Facet.METADATA, key, text) for key, text in counted.members.items()]
    return found
