"""Every public name has a complete numpydoc docstring, by scikit-learn's rules."""

from __future__ import annotations

import inspect

import pytest

from tests import public
from tests.conftest import import_optional

validate = import_optional("numpydoc.validate").validate

# RT02: a named return value is clearer than a bare type. GL01, GL02: where the blank lines go.
NEVER = {"RT02", "GL01", "GL02"}
# No extended summary, See Also, examples: asked of classes, not of each of their methods.
CLASS_ONLY = {"ES01", "SA01", "EX01"}
# A property has no signature, and may be documented by its class.
NOT_PROPERTIES = {"PR02", "GL08"}


def cases() -> list[tuple[str, str | None]]:
    """Pairs of a symbol's dotted name and one of its methods, or None for itself."""
    found: list[tuple[str, str | None]] = []
    for path, symbol in public.symbols().items():
        found.append((path, None))
        if inspect.isclass(symbol):
            found += [(path, name) for name in public.own_methods(symbol)]
    return found


def ignored(symbol: object, method: str | None) -> set[str]:
    """Numpydoc codes that do not apply to this kind of object."""
    if method is not None:
        is_property = isinstance(inspect.getattr_static(symbol, method), public.PROPERTIES)
        return NEVER | CLASS_ONLY | (NOT_PROPERTIES if is_property else set())
    # An exception is its message: an example would only raise it.
    if inspect.isclass(symbol) and not issubclass(symbol, BaseException):
        return NEVER
    return NEVER | CLASS_ONLY


@pytest.mark.parametrize(("path", "method"), cases())
def test_docstring(path, method):
    skip = ignored(public.symbols()[path], method)
    result = validate(path if method is None else f"{path}.{method}")
    errors = [f"{code}: {message}" for code, message in result["errors"] if code not in skip]
    where = f"{result['file']}:{result['file_line']}"
    assert errors == [], "\n".join([f"{path}.{method or ''} at {where}", *errors])
