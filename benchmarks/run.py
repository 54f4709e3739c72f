"""Run one benchmark, or all of them, and print their tables.

    python benchmarks/run.py [NAME ...] [--quick] [--data-dir DIR] [...]

The options are those of every script: ``python benchmarks/run.py --help``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

from common import note, parser

BENCHMARKS = (
    "faithfulness",
    "faithfulness_exact",
    "faithfulness_linear",
    "faithfulness_networks",
    "faithfulness_replacement",
    "libraries",
    "mislabels",
    "odds",
    "speed",
    "speed_exact",
    "speed_linear",
    "speed_networks",
    "speed_representers",
    "speed_sketch",
    "speed_tracing",
)


def main():
    options = parser(__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    names = options.parse_args().names
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        options.error(f"no benchmark {sorted(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        note(f"== {name}")
        if name.endswith(("_networks", "_representers", "_tracing")) and not find_spec("torch"):
            note("left out: torch is not installed")
            continue
        import_module(name).main(_without_names(names))


def _without_names(names):
    return [word for word in sys.argv[1:] if word not in names]


if __name__ == "__main__":
    main()
