"""The recorded comparison of libraries (`make bench` makes it anew), without its unit columns."""

from pathlib import Path

RECORDED = Path(__file__).parents[1] / "benchmarks" / "results" / "libraries.md"
SHOWN = ("factor to ours", "rest after the factor", "Spearman with refits")

header = ("Library", "Call", *SHOWN, "What makes the difference")


def table_of(text):
    """Rows of the Markdown table as dicts."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    names, _, *cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in cells]


def shown(row):
    rest = f"{100 * float(row[SHOWN[1]]):.2g} %" if float(row[SHOWN[1]]) > 1e-6 else "0"
    numbers = [row[SHOWN[0]], rest, row[SHOWN[2]]]
    return [row["library"], f"``{row['call']}``", *numbers, row["what makes the difference"]]


rows = [["(not recorded)"] + [""] * (len(header) - 1)]
if RECORDED.exists():
    rows = [shown(row) for row in table_of(RECORDED.read_text(encoding="utf-8"))]
