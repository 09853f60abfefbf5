"""`python -m entrypoints.cli`: the same as the command `pandaprobe-server`."""

import sys

from entrypoints.cli.main import main

sys.exit(main())
