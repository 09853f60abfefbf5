"""Every benchmark, one after the other: `make bench`. docs/benchmarks.md tells what they say."""

import sys

from tests.benchmarks import evaluation, exports, ingest, limiter, neighbours, reads, scores

if __name__ == "__main__":
    ingest.main()
    print()
    limiter.main()
    print()
    neighbours.main()
    print()
    scores.main()
    print()
    evaluation.main()
    print()
    exports.main()
    print()
    sys.exit(reads.main())
