"""Studies over many finished runs: what `lightning reproduce` reads, compares and reports.

Plain Python and NumPy. Running is `reproduce.py`'s.
"""
