"""Runs all benchmarks: `make bench`. docs/development/benchmarks.md explains the results."""

import sys

from tests.benchmarks import (
    attacks,
    dashboard,
    dashboard_views,
    evaluation,
    experiments,
    exports,
    limiter,
    neighbours,
    reads,
    scores,
    search,
)
from tests.benchmarks.writes import ingest, otlp, payload_layouts, shared_texts

if __name__ == "__main__":
    ingest.main()
    print()
    otlp.main()
    print()
    payload_layouts.main()
    print()
    shared_texts.main()
    print()
    limiter.main()
    print()
    neighbours.main()
    print()
    attacks.main([])
    print()
    scores.main()
    print()
    evaluation.main()
    print()
    exports.main()
    print()
    experiments.main()
    print()
    dashboard.main()
    print()
    dashboard_views.main()
    print()
    search.main()
    print()
    sys.exit(reads.main())
