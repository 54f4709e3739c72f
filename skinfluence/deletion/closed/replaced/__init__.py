"""Closed forms of models of which a training row becomes another one."""
