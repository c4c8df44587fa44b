"""Figures over many finished runs, one a file: `(points, *, title, **options) -> Figure`.

A study of `lightning reproduce` names one of them under `draw:`; `points` are its grid points of
one protocol.
"""
