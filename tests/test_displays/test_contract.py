"""The contract of every display: lazy imports, self returned, artists set, pickle, given axes."""

import builtins
import pickle

import numpy as np
import pytest

from skinfluence import displays
from tests.conftest import import_optional

plt = import_optional("matplotlib.pyplot")

X = np.random.default_rng(0).normal(size=(12, 4))
SCORES = np.linspace(-1.0, 1.0, 12)

# class: constructor arguments, arguments of from_explainer behind the explainer
DISPLAYS = {
    displays.SelfInfluenceDisplay: ({"self_influence": SCORES, "X": X}, ()),
    displays.InfluenceDisplay: ({"influence": SCORES, "X": X, "query": X[0]}, (np.zeros(2),)),
    displays.DetectionCurveDisplay: (
        {"is_bad": SCORES > 0.5, "scores": {"a": SCORES, "b": -SCORES}},
        (np.arange(100) < 10,),
    ),
    displays.ImageGridDisplay: (
        {
            "queries": X[:2],
            "X": X,
            "proponents": (np.array([[0.3, 0.2]] * 2), np.array([[0, 1], [1, 0]])),
            "opponents": (np.array([[-0.3]] * 2), np.array([[5], [6]])),
            "image_shape": (2, 2),
        },
        (np.zeros((2, 2)),),
    ),
    displays.InfluenceBubbleDisplay: (
        {"leverage": SCORES**2, "residuals": SCORES, "cooks_distance": SCORES**2},
        (),
    ),
    displays.InfluenceIndexDisplay: ({"values": SCORES**2}, ()),
    displays.AgreementDisplay: (
        {"estimated": SCORES, "actual": SCORES**3},
        (np.zeros((3, 2)), np.zeros(3)),
    ),
}
OF_REGRESSION = {
    displays.InfluenceBubbleDisplay,
    displays.InfluenceIndexDisplay,
    displays.AgreementDisplay,
}
EXTRA = {displays.ImageGridDisplay: {"image_shape": (1, 2)}}


@pytest.fixture
def fitted(cls, request):
    """The fitted explainer that `cls` is for."""
    return request.getfixturevalue("regression" if cls in OF_REGRESSION else "explainer")


def test_every_display_is_covered():
    assert {cls.__name__ for cls in DISPLAYS} == set(displays.__all__)


@pytest.mark.parametrize("cls", DISPLAYS)
def test_plot_returns_self_and_sets_its_artists(cls):
    display = cls(**DISPLAYS[cls][0])
    assert not any(name.endswith("_") and not name.startswith("_") for name in vars(display))
    assert display.plot() is display
    assert display.figure_ is display.ax_.figure
    documented = cls.__doc__.split("Attributes\n")[1].split("See Also")[0].splitlines()
    names = [line.split(" :")[0].strip() for line in documented if " : " in line]
    assert [name for name in names if not hasattr(display, name)] == []
    display.figure_.canvas.draw()


@pytest.mark.parametrize("cls", DISPLAYS)
def test_draws_into_the_axes_given(cls, fitted):
    fig, (left, right) = plt.subplots(1, 2)
    arguments = DISPLAYS[cls][1]
    display = cls.from_explainer(fitted, *arguments, ax=right, **EXTRA.get(cls, {}))
    assert isinstance(display, cls)
    assert display.ax_ is right
    assert display.figure_ is fig
    assert not left.has_data()


@pytest.mark.parametrize("cls", DISPLAYS)
def test_plotting_twice_draws_twice_from_the_same_numbers(cls):
    import_optional("pandas")
    display = cls(**DISPLAYS[cls][0]).plot()
    first, frame = display.ax_, display.frame()
    assert display.plot().ax_ is not first
    assert display.frame().equals(frame)


@pytest.mark.parametrize("cls", DISPLAYS)
def test_undrawn_display_pickles(cls):
    import_optional("pandas")
    display = cls(**DISPLAYS[cls][0])
    assert pickle.loads(pickle.dumps(display)).frame().equals(display.frame())


@pytest.mark.parametrize("cls", DISPLAYS)
def test_without_matplotlib_the_error_names_the_extra(cls, monkeypatch):
    actual_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return actual_import(name, *args, **kwargs)

    display = cls(**DISPLAYS[cls][0])
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "skinfluence\[plot\]"'):
        display.plot()


@pytest.mark.parametrize("cls", DISPLAYS)
def test_an_explainer_that_is_not_fitted_is_refused(cls, fitted):
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        cls.from_explainer(clone(fitted), *DISPLAYS[cls][1], **EXTRA.get(cls, {}))
