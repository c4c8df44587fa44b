"""Synthetic features, drawn anew at every step."""
