"""Uploads the results of an offline run: `python -m pytest_pandaprobe FILE`."""

import os
import sys
from pathlib import Path

from pytest_pandaprobe.record import upload_file
from pytest_pandaprobe.service import Service, ServiceError


def main(arguments: list[str]) -> int:
    """Returns 0: uploaded; 1: failed; 2: wrong usage."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m pytest_pandaprobe FILE")
        return 2
    try:
        service = Service.of(os.environ)
    except ServiceError as error:
        print(error)
        return 2
    if service is None:
        print("set PANDAPROBE_ENDPOINT and PANDAPROBE_API_KEY")
        return 2
    try:
        with service.client:
            for test, experiment in upload_file(Path(arguments[0]), service):
                print(f"{test}: experiment {experiment}")
    except (OSError, ValueError, ServiceError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
