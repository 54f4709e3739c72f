"""Stub until the core's exceptions arrive."""


class NotStationaryWarning(UserWarning):
    """The fitted parameters are not an optimum."""
