"""Influence on models whose deletions are exact."""
