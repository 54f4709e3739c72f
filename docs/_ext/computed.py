"""A table whose cells a script computed while these pages were built.

    .. computed:: ../examples/plot_erratum.py
       :header: header
       :rows: table

runs the script (once per build, without a display) and shows two of its variables.  A number in
the guide then cannot drift from the code: nobody typed it.  With the flag ``:words:`` all columns
are words; otherwise those after the first are numbers, and end at the right.  ``:widths:`` are
those of the columns, in per cent, where long code would take all of it.
"""

import contextlib
import io
import runpy
from functools import cache

import matplotlib
import matplotlib.pyplot as plt
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


@cache
def run(path):
    """Variables of the script at `path` after it has run."""
    # Not by MPLBACKEND: the notebook's kernel would inherit it and show no pictures.
    matplotlib.use("agg")
    with contextlib.redirect_stdout(io.StringIO()):
        variables = runpy.run_path(path)
    plt.close("all")
    return variables


class Computed(SphinxDirective):
    required_arguments = 1
    option_spec = {
        "header": directives.unchanged_required,
        "rows": directives.unchanged_required,
        "widths": directives.positive_int_list,
        "words": directives.flag,
    }

    def run(self):
        relative, absolute = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        variables = run(absolute)
        header = variables[self.options["header"]]
        rows = variables[self.options["rows"]]
        return [self.table(header, rows)]

    def table(self, header, rows):
        group = nodes.tgroup(cols=len(header))
        widths = self.options.get("widths", [1] * len(header))
        group += [nodes.colspec(colwidth=width) for width in widths]
        group += nodes.thead("", self.row(header))
        group += nodes.tbody("", *map(self.row, rows))
        classes = ["words" if "words" in self.options else "computed"]
        if "widths" in self.options:
            classes += ["colwidths-given", "fixed"]
        return nodes.table("", group, classes=classes)

    def row(self, cells):
        return nodes.row("", *(nodes.entry("", *self.paragraph(str(cell))) for cell in cells))

    def paragraph(self, text):
        inline, messages = self.parse_inline(text, lineno=self.lineno)
        return [nodes.paragraph("", "", *inline), *messages]


def setup(app):
    app.add_directive("computed", Computed)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
