"""A private PostgreSQL and Valkey from wheels, as child processes: for `dev` and for the tests.

One folder holds everything: `pg18` and `valkey` with their data, a log of each server, and `lock`,
which one process at a time holds. The servers don't outlive the process that started them: if it
is killed, the kernel ends them (on Linux), and the next start finds the data.
"""
