"""The public surface is declared, documented and typed."""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path

import pytest

from tests import public

DOCS = Path(__file__).parents[1] / "docs"


@cache
def api_pages() -> str:
    """Text of the API reference, written by hand (generated pages would prove nothing)."""
    pages = [*DOCS.glob("api*.rst"), *DOCS.glob("api/*.rst")]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("module", public.modules(), ids=lambda module: module.__name__)
def test_all_names_exist_once(module):
    """Ruff keeps ``__all__`` sorted."""
    names = module.__all__
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("path", public.symbols())
def test_symbol_is_in_the_api_reference(path):
    name = path.rpartition(".")[2]
    assert re.search(rf"\b{name}\b", api_pages()), f"add {path} to a page of docs/api"


@pytest.mark.parametrize("path", public.callables())
def test_signature_is_annotated(path):
    """``py.typed`` promises types: every parameter of a public callable has one."""
    function = public.callables()[path]
    # A class without a constructor of its own (most exceptions) has nothing to annotate.
    if inspect.isclass(function) and not inspect.isfunction(function.__init__):
        return
    signature = inspect.signature(function)
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty and name not in {"self", "cls"}
    ]
    if not inspect.isclass(function) and signature.return_annotation is signature.empty:
        missing.append("return")
    assert missing == []
