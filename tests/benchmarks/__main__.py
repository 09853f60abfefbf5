"""Every benchmark, one after the other: `make bench`. docs/benchmarks.md tells what they say."""

from tests.benchmarks import ingest

if __name__ == "__main__":
    ingest.main()
