"""How the documentation is built.  Nothing here needs the network; warnings are errors."""

import os
import sys
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the package, without installing it
sys.path.insert(0, str(HERE / "_ext"))
# The kernel that executes the notebook is another process: it finds the package this way.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)

os.environ.pop("MPLBACKEND", None)  # or the notebook would show no pictures

from torch import nn

import skinfluence

project = "skinfluence"
author = "the skinfluence developers"
copyright = f"{date.today().year}, {author}"
version = release = getattr(skinfluence, "__version__", "")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "myst_nb",
    "computed",
]
# No intersphinx: a build must not depend on other projects' servers.  Their classes are
# literals here, with links where a reader would follow one.

exclude_patterns = ["_build", "auto_examples/*.ipynb", "sg_execution_times.rst"]
templates_path = ["_templates"]
default_role = "code"
nitpicky = False

# -- API reference ---------------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc states the types, with shapes
autodoc_inherit_docstrings = True
# Methods that every scikit-learn estimator has: they refer to pages of scikit-learn's own site.
# Those of a module to torch's.
autosummary_context = {
    "inherited_by": {
        "BetaVAE": ["set_output"],
        "VAE": [name for name in vars(nn.Module) if name != "forward"],
    },
    "inherited": [
        "get_metadata_routing",
        "get_params",
        "set_fit_request",
        "set_params",
        "set_partial_fit_request",
        "set_score_request",
    ],
}
numpydoc_show_class_members = False  # the class template lists them, with links
numpydoc_class_members_toctree = False
numpydoc_use_plots = True

# -- notebook and markdown -------------------------------------------------------------------
nb_execution_mode = "cache"  # stored without outputs, executed by every clean build
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # of a cell, on a busy machine
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3

# -- gallery ---------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"(__init__|run_)",
    "within_subsection_order": "gallery_order.ReadingOrder",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 1000,
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib",),
    "doc_module": ("skinfluence",),
    "backreferences_dir": "api/generated/backreferences",
}

# -- pages -----------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = "skinfluence"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "header_links_before_dropdown": 6,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {
    "index": [],
    "add_an_explainer": [],
    "disagreement": [],
    "contributing": [],
    "notebooks/*": [],
    "auto_examples/*": [],
    "conventions": [],
    "choosing": [],
    "density/choosing": [],
    "coming_from": [],
    "changelog": [],
}
