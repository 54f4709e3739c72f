"""What the benchmarks share: options, result tables, and timing in processes of their own."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PEERS = (
    "statsmodels", "torch", "captum", "dattri", "pyDVL", "kronfluence", "curvlinops-for-pytorch",
)  # fmt: skip
# A first run is a warm-up, unless it takes so long that warming up cannot matter.
LONG, VERY_LONG = 5.0, 40.0


# -- options ------------------------------------------------------------------------------------


def parser(description: str) -> argparse.ArgumentParser:
    """Options that every script takes, so that the runner can hand them on."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action=_Quick, help="reduced sizes; prints, writes no results")
    options.add_argument("--only", nargs="*", metavar="PART", help="e.g. D1 D2, gmm, glass")
    options.add_argument("--fresh", action="store_true", help="forget interrupted runs")
    options.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("SKINFLUENCE_DATA"),
        help="directory with data sets (default: the environment's SKINFLUENCE_DATA)",
    )
    options.add_argument("--results", type=Path, default=HERE / "results", metavar="DIR")
    options.add_argument("--device", default="cpu", help="where networks are measured: cpu, cuda")
    options.add_argument("--machine", default=_machine(), help="what the tables call the machine")
    return options


class _Quick(argparse.Action):
    """A flag, which is known to :func:`processes` too."""

    on = False

    def __init__(self, option_strings, dest, help=None):
        super().__init__(option_strings, dest, nargs=0, default=False, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, True)
        _Quick.on = True


def _machine() -> str:
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{n} cores, {platform.machine()}"


def versions() -> str:
    """One line with the versions that decide the numbers."""
    import numpy
    import scipy
    import sklearn

    import skinfluence

    found = [("Python", platform.python_version()), ("skinfluence", skinfluence.__version__)]
    found += [(module.__name__, module.__version__) for module in (numpy, scipy, sklearn)]
    for name in PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return ", ".join(f"{name} {version}" for name, version in found)


# -- tables -------------------------------------------------------------------------------------


def number(value: Any, digits: int = 3) -> str:
    """`value` with a few significant digits; text and whole numbers as they are."""
    if value is None:
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def table(header: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table whose columns line up in a terminal, too."""
    cells = [[number(value) for value in row] for row in [header, *rows]]
    widths = [max(len(row[j]) for row in cells) for j in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def publish(name: str, title: str, text: str, options: argparse.Namespace) -> None:
    """Print a finished result and, unless it is a quick one, write it to ``results/name.md``."""
    today = datetime.date.today().isoformat()
    text = f"# {title}\n\n{options.machine}; {versions()}; {today}.\n\n{text.strip()}\n"
    print("\n" + text, flush=True)
    if not options.quick:
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / f"{name}.md").write_text(text)


def note(text: str) -> None:
    """Say on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


# -- timing -------------------------------------------------------------------------------------


def processes() -> Any:
    """Where processes come from: each starts from nothing, so that none warms another up.

    Those of quick runs are copies of one that has imported the packages, which is most of what a
    small case takes.
    """
    if not _Quick.on or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skinfluence", "skinfluence.torch"])
    return context


@dataclasses.dataclass(frozen=True)
class Job:
    """What a set-up hands to the clock: only ``run()`` is timed.

    Parameters
    ----------
    run : callable
    digest : callable
        Reduces the result of the last run, e.g. to a few scores to be compared, so that it can
        leave the process.
    """

    run: Callable[[], Any]
    digest: Callable[[Any], Any] = lambda result: None


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of a speed table, measured in a process of its own.

    Parameters
    ----------
    role : {"floor", "ours", "peer"}
        Ours is held against the floor last named before it, and against all peers.
    name : str
    setup : callable
        Importable; returns the :class:`Job`.
    arguments : dict
        Of the set-up.
    threads : int
        Threads that BLAS and OpenMP get in that process.
    times : float
        Factor from what is run to what is claimed: above 1 for an extrapolation.
    """

    role: str
    name: str
    setup: Callable[..., Job]
    arguments: dict
    threads: int = 1
    times: float = 1.0


def floor(name: str, setup: Callable[..., Job], threads: int, **arguments) -> Case:
    """The least arithmetic the next cases need."""
    return Case("floor", name, setup, arguments, threads)


def ours(name: str, setup: Callable[..., Job], threads: int, **arguments) -> Case:
    """This package."""
    return Case("ours", name, setup, arguments, threads)


def peer(
    name: str, setup: Callable[..., Job], times: float = 1.0, threads: int = 1, **arguments
) -> Case:
    """What people do without it, by default on one thread: `times` as long for the whole work."""
    return Case("peer", name, setup, arguments, threads, times)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Median and best time in seconds (extrapolated), memory in MB, and what the last run gave."""

    case: Case
    seconds: float
    best: float
    memory: float
    load: float
    runs: int
    answer: Any


HEADER = [
    "what", "threads", "median s", "best s", "runs", "extra MB", "x floor", "faster than peers",
]  # fmt: skip


def speed_table(
    found: list[Measured], extra: Mapping[str, Callable[[Measured], Any]] | None = None
) -> str:
    """Times, memory, and for ours the ratios to the floor and to every peer, in their order.

    `extra` are further columns: what their heads say, of one measurement.
    """
    extra = {} if extra is None else extra
    peers = [one.seconds for one in found if one.case.role == "peer"]
    floor, rows = None, []
    for one in found:
        case, ratio, faster = one.case, None, ""
        if case.role == "floor":
            floor = one.seconds
        elif case.role == "ours":
            ratio = one.seconds / floor if floor else None
            faster = ", ".join(f"{peer / one.seconds:.3g} x" for peer in peers)
        part = "" if case.times == 1 else f" (extrapolated, x {case.times:.4g})"
        busy = f" (others held {one.load:.1f} cores)" if one.load > 0.2 else ""
        rows.append(
            [f"{case.name}{part}{busy}", case.threads, one.seconds, one.best, one.runs,
             round(one.memory), ratio, faster, *[column(one) for column in extra.values()]]
        )  # fmt: skip
    return table([*HEADER, *extra], rows)


def measure(cases: list[Case], rounds: int = 3) -> list[Measured]:
    """Time all cases in turn, round after round, so that a drift of the machine hits them alike.

    Extra memory is the peak of the resident set during the runs above its size before them, which
    sees every allocation: of NumPy, BLAS and compiled trees alike.
    """
    workers = []
    try:
        for case in cases:
            note(f"  setting up {case.role}: {case.name}, {case.threads} thread(s)")
            workers.append(_Worker(case))
        for turn in range(rounds + 1):
            for worker in workers:
                worker.turn(first=turn == 0)
        return [worker.finish() for worker in workers]
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """The parent's end of a process that runs one case."""

    def __init__(self, case: Case):
        self.case, self.warm_up, self.runs = case, None, []
        context = processes()
        self.pipe, far_end = context.Pipe()
        # Not a daemon: joblib runs one thread only in those.
        self.process = context.Process(target=_serve, args=(far_end, case.setup, case.arguments))
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(case.threads)))
        try:
            self.process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        far_end.close()
        self._receive()

    def turn(self, *, first: bool) -> None:
        if self.runs and self.runs[0][0] > VERY_LONG:
            return
        self.pipe.send("run")
        result = self._receive()
        if first:
            self.warm_up = result
        if not first or result[0] > LONG:
            self.runs.append(result)

    def finish(self) -> Measured:
        self.pipe.send("finish")
        answer = self._receive()
        seconds, _, loads = zip(*self.runs, strict=True)
        times = self.case.times
        return Measured(
            case=self.case,
            seconds=times * statistics.median(seconds),
            best=times * min(seconds),
            memory=max(memory for _, memory, _ in [self.warm_up, *self.runs]),
            load=statistics.median(loads),
            runs=len(seconds),
            answer=answer,
        )

    def close(self) -> None:
        self.process.terminate()
        self.process.join()

    def _receive(self) -> Any:
        try:
            failed, content = self.pipe.recv()
        except EOFError:
            failed, content = True, "the process ended: out of memory?"
        if failed:
            raise RuntimeError(f"{self.case.name} failed.\n{content}")
        return content


def _serve(pipe, setup, arguments):
    """The loop of a case's process."""
    try:
        job = setup(**arguments)
        pipe.send((False, "ready"))
        result = None
        while pipe.recv() == "run":
            result = None
            result, *measured = _timed(job.run)
            pipe.send((False, measured))
        pipe.send((False, job.digest(result)))
    except Exception:
        pipe.send((True, traceback.format_exc()))


def _timed(run):
    """Result, wall seconds, extra peak memory in MB, and the cores that other processes held."""
    _forget_peak()
    memory, busy, own = _resident(), _busy(), time.process_time()
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    others = _busy() - busy - (time.process_time() - own)
    return result, seconds, max(0.0, _peak() - memory), max(0.0, others / seconds)


def _forget_peak():
    with contextlib.suppress(OSError):  # not Linux: the peak of the set-up counts, too
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _resident() -> float:
    return _status("VmRSS") or _peak()


def _peak() -> float:
    unit = 2**20 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _busy() -> float:
    """Seconds that all cores together have been busy; constant where that is unknown."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system = map(float, fields[:3])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")
