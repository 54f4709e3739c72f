"""What scores are measured in: labels, and which sign helps."""

import pytest
from numpy.testing import assert_array_equal

from skinfluence.displays._style import MUTED, OPPONENT, PROPONENT
from skinfluence.displays._units import Reading, unit_of


@pytest.mark.parametrize(
    ("unit", "label", "helps", "sides"),
    [
        ("nats", "s (nats)", 1, "proponents"),
        ("dollars", "s (dollars)", 1, "proponents"),
        ("loss", "s (change of the loss)", 1, "proponents"),
        ("decision_function", "s (change of the decision function)", -1, "proponents"),
        ("proba", "s (change of the probability)", -1, "proponents"),
        ("target", "s (change of the value)", 1, "rises without it"),
        ("parameter", "s (change of the parameter)", 1, "rises without it"),
        (
            "proba a unit of change of the parameters",
            "s\n(change of the probability / change of the parameters)",
            -1,
            "proponents",
        ),
    ],
)
def test_labels_and_sides(unit, label, helps, sides):
    reading = Reading(unit)
    assert reading.label("s") == label
    assert reading.helps == helps
    assert reading.sides[0] == sides
    assert reading.says_red_is_positive == (helps > 0 and sides == "proponents")
    assert [reading.colour(s * helps) for s in (2.0, -2.0, 0.0)] == [PROPONENT, OPPONENT, MUTED]
    assert reading.diverging == ("RdBu_r" if helps > 0 else "RdBu")


def test_strong_is_high_for_a_loss_and_far_from_zero_for_an_output():
    assert_array_equal(Reading("loss").strength([0.2, -0.5]), [0.2, -0.5])
    assert_array_equal(Reading("nats").strength([0.2, -0.5]), [0.2, -0.5])
    assert_array_equal(Reading("decision_function").strength([0.2, -0.5]), [0.2, 0.5])


def test_only_a_density_measures_its_loss_in_nats(explainer):
    assert unit_of(explainer) == "nats"
    assert unit_of(object()) == "loss"
