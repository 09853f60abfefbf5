"""The command line `pandaprobe-server`: one module for each command."""
