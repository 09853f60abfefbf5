"""The command line `pandaprobe-server`. Its long commands have modules of their own."""
