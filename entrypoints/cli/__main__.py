"""`python -m entrypoints.cli`: the same as the command `pandaprobe-server`."""

from entrypoints.cli.main import main

main()
