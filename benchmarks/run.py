"""Run one benchmark, or all of them, and print their tables.

    python benchmarks/run.py [NAME ...] [--quick] [--data-dir DIR] [...]

The options are those of every script: ``python benchmarks/run.py --help``.
"""

from __future__ import annotations

import faithfulness
import faithfulness_linear
import libraries
import mislabels
import odds
import speed
import speed_linear
from common import note, parser

BENCHMARKS = {
    "faithfulness": faithfulness,
    "faithfulness_linear": faithfulness_linear,
    "libraries": libraries,
    "mislabels": mislabels,
    "odds": odds,
    "speed": speed,
    "speed_linear": speed_linear,
}


def main():
    options = parser(__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    names = options.parse_args().names
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        options.error(f"no benchmark {sorted(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        note(f"== {name}")
        BENCHMARKS[name].main(_without_names(names))


def _without_names(names):
    import sys

    return [word for word in sys.argv[1:] if word not in names]


if __name__ == "__main__":
    main()
