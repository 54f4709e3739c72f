"""The recorded comparison of libraries (`make bench` makes it anew), without its unit columns."""

from pathlib import Path

RECORDED = Path(__file__).parents[1] / "benchmarks" / "results" / "libraries.md"

header = ("Library", "Call", "Factor", "Rest", "Spearman with refits", "What makes the difference")


def table_of(text):
    """Rows of the Markdown table as dicts."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    names, _, *cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in cells]


def shown(row):
    rest = float(row["rest after the factor"])
    return [
        row["library"],
        f"``{row['call']}``",
        row["factor to ours"],
        f"{100 * rest:.2g} %" if rest > 1e-6 else "0",
        row["Spearman with refits"],
        row["what makes the difference"],
    ]


rows = [shown(row) for row in table_of(RECORDED.read_text(encoding="utf-8"))]
