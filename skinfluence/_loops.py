"""Loops over blocks: their size, their threads, their progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from joblib import Parallel, delayed, effective_n_jobs
from sklearn import get_config
from threadpoolctl import ThreadpoolController


def slices(n: int, size: int) -> list[slice]:
    """Consecutive slices of at most `size` that cover ``range(n)``."""
    size = max(1, int(size))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def memory_budget(n_workers: int = 1) -> float:
    """Bytes of temporaries that one worker may hold."""
    return get_config()["working_memory"] * 2**20 / n_workers


def n_workers(n_jobs: int | None) -> int:
    """Number of threads behind `n_jobs`, in joblib's sense."""
    return effective_n_jobs(n_jobs)


def progress_bar(iterable: Iterable, *, total: int, enabled: bool, desc: str) -> Iterable:
    """`iterable` behind a tqdm bar, where one was asked for."""
    if not enabled:
        return iterable
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "progress=True draws its bar with tqdm, which is not installed. "
            'Install it with pip install "skinfluence[progress]", or set progress=False.'
        ) from error
    return tqdm(iterable, total=total, desc=desc)


def in_threads(
    function: Callable, items: list, *, n_jobs: int | None, one_thread: bool = True
) -> Iterator:
    """Results of ``function(item)`` in order, computed by `n_jobs` threads.

    Workers return arrays and the caller writes them, so that any joblib backend works unchanged.
    BLAS keeps to one thread: blocks fit the cache and are too small to share, and threads that
    wait for each other in every small GEMM are slower by an order of magnitude when another
    process holds a core. Where the products are large and ours is the only thread, BLAS may share
    them (``one_thread=False``).
    """
    alone = n_workers(n_jobs) == 1 or len(items) == 1
    if alone and not one_thread:
        yield from map(function, items)
        return
    with one_blas_thread():
        if alone:
            yield from map(function, items)
        else:
            run = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
            yield from run(delayed(function)(item) for item in items)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread, for loops of small products."""
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield


@cache
def _thread_pools() -> ThreadpoolController:
    # Finding the libraries takes a millisecond or two, and they are all loaded by now.
    return ThreadpoolController()
