"""Small published tables, and generators that plant rows and return the truth."""

from skinfluence.datasets._generators import (
    make_six_clusters,
    plant_duplicates,
    plant_mislabels,
    plant_outliers,
)
from skinfluence.datasets._tables import (
    load_duncan,
    load_galaxies,
    load_hbk,
    load_old_faithful,
    load_stackloss,
    load_stars_cyg,
)

__all__ = [
    "load_duncan",
    "load_galaxies",
    "load_hbk",
    "load_old_faithful",
    "load_stackloss",
    "load_stars_cyg",
    "make_six_clusters",
    "plant_duplicates",
    "plant_mislabels",
    "plant_outliers",
]
