"""Small networks that tests of the torch part share: every kind of layer and of sharing.

``NETWORKS[name](dtype=torch.float64)`` returns a module in evaluation mode, its rows (a
``skinfluence.torch.data.Rows`` with targets) and the name of a loss.
"""

from __future__ import annotations

from tests.test_torch import networks_images, networks_plain, networks_sequences
from tests.test_torch.network_table import N_CLASSES, N_ROWS, NETWORKS, Apply, Built, Chain

__all__ = ["NETWORKS", "N_CLASSES", "N_ROWS", "Apply", "Built", "Chain"]

# Importing them is what fills the table.
TABLES = (networks_plain, networks_images, networks_sequences)
