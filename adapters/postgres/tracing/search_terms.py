"""Search terms of traces: hashes of tags, models and metadata, in one inverted index.

A term is 64 bits of a hash that includes the project, so one index serves every project and the
list of a common term belongs to one project. Two texts may share a term, so searches compare the
columns too. The tests compute the same terms in SQL.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from adapters.postgres.tracing.facets import SEPARATOR, CountedTrace, Facet
from domain.ids import ProjectId

MANY_MEMBERS: Final = ""  # replaces the terms of members if there are too many

CACHED_TERMS_MAX: Final = 10_000  # tags and models are short and repeat often


def search_term(project: ProjectId, kind: Facet, *value: str) -> int:
    """A signed 64-bit number."""
    text = SEPARATOR.join((str(project), kind, *value))
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], signed=True)


@lru_cache(CACHED_TERMS_MAX)
def _label_term(project: ProjectId, kind: Facet, label: str) -> int:
    return search_term(project, kind, label)


def metadata_terms(project: ProjectId, key: str, texts: Sequence[str]) -> list[int]:
    """A trace whose metadata has one of `texts` under `key` has at least one of these terms."""
    return [
        *(search_term(project, Facet.METADATA, key, text) for text in texts),
        search_term(project, Facet.METADATA, MANY_MEMBERS),
    ]


def trace_terms(counted: CountedTrace) -> list[int]:
    """All terms of a trace."""
    project = counted.project
    found = [_label_term(project, Facet.TAG, tag) for tag in dict.fromkeys(counted.trace.tags)]
    found += [_label_term(project, Facet.MODEL, model) for model in counted.models]
    if counted.has_many_members:
        found.append(search_term(project, Facet.METADATA, MANY_MEMBERS))
    else:
        found += [
            search_term(project, Facet.METADATA, key, text) for key, text in counted.members.items()
        ]
    return found
