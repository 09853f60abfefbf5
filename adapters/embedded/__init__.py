"""A private PostgreSQL and Valkey from wheels, as child processes: for `dev` and for the tests.

The folder that they are given holds all there is: `pg18` and `valkey` with their data, a log of
each, and `lock`, which one process at a time holds. Nothing of it outlives its starter: when that
dies, however suddenly, the kernel ends the servers (on Linux), and the next start finds the data.
"""
