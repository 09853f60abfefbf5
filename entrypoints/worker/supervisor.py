"""`worker --processes N`: several worker processes of one command.

This module imports nothing of what they do: the process that supervises them takes 28 MB, where one
that works takes 85 MB.
"""

import contextlib
import logging
import signal
import tempfile
from typing import Final

from msgspec import structs

from entrypoints.observability import logs
from entrypoints.processes import child_processes
from entrypoints.processes.child_processes import StopFlag
from entrypoints.settings import Settings, variable
from entrypoints.startup import check_servers, listen, product_version

LOG: Final = logging.getLogger("pandaprobe.worker")
DRAIN_TIMEOUT_S: Final = 20  # for running jobs at a stop; the rest is released
STOP_TIMEOUT_S: Final = DRAIN_TIMEOUT_S + 5  # of one process among several


def supervise(settings: Settings) -> int:
    """Runs `eval_worker_processes` until SIGTERM or SIGINT, or until one ends.

    Raises CommandError, SettingsError.
    """
    check_servers(settings)
    logs.configure(settings)
    stop = StopFlag.on_signals()
    options = ("--processes", "1", "--concurrency", str(settings.eval_worker_concurrency))
    with contextlib.ExitStack() as stack:
        environ = {}
        if settings.worker_port is not None:  # this process serves the shared metrics of all
            from entrypoints.observability.observer import create_registry  # noqa: PLC0415
            from entrypoints.worker.status_port import serve_status  # noqa: PLC0415

            folder = settings.metrics_dir or stack.enter_context(tempfile.TemporaryDirectory())
            settings = structs.replace(settings, metrics_dir=folder)
            environ = {variable("metrics_dir"): folder, variable("worker_port"): ""}
            metrics = create_registry(settings, product_version())
            stack.enter_context(serve_status(settings, metrics))
        processes = [
            child_processes.start("worker", *options, environ=environ, orphaned=signal.SIGTERM)
            for _ in range(settings.eval_worker_processes)
        ]
        stack.callback(child_processes.stop_all, processes, STOP_TIMEOUT_S)
        return child_processes.watch(processes, stop, LOG)


def with_options(settings: Settings, processes: int | None, concurrency: int | None) -> Settings:
    """The settings, overridden by options of the command line."""
    return structs.replace(
        settings,
        eval_worker_processes=processes or settings.eval_worker_processes,
        eval_worker_concurrency=concurrency or settings.eval_worker_concurrency,
    )


def check_port(settings: Settings) -> None:
    """Raises CommandError if the port of the worker is in use: before the slow imports."""
    if settings.worker_port is not None:
        listen(structs.replace(settings, port=settings.worker_port), "worker_port").close()
