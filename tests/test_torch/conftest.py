"""Set-up of the tests of networks."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """As BLAS has under ``make test``: the workers of pytest share the cores."""
    import torch  # not at the top: pytest reads this file even where it skips the folder

    torch.set_num_threads(1)
