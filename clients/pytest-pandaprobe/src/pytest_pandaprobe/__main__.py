"""Uploads the results of an offline run: `python -m pytest_pandaprobe FILE`."""

import os
import sys
from pathlib import Path

from pytest_pandaprobe.record import lines_of_rejected, upload_file
from pytest_pandaprobe.service import Service, ServiceError


def main(arguments: list[str]) -> int:
    """Returns 0: uploaded; 1: failed, or a result was rejected; 2: wrong usage."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m pytest_pandaprobe FILE")
        return 2
    try:
        service = Service.from_environ(os.environ)
    except ServiceError as error:
        print(error)
        return 2
    if service is None:
        print("set PANDAPROBE_ENDPOINT and PANDAPROBE_API_KEY")
        return 2
    is_whole = True
    try:
        with service.client:
            for test, experiment, rejected in upload_file(Path(arguments[0]), service):
                print(f"{test}: experiment {experiment}")
                for line in lines_of_rejected(test, rejected):
                    print(line)
                is_whole &= not rejected
    except (OSError, ValueError, ServiceError) as error:
        print(error)
        return 1
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
