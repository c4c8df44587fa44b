"""Run a paper's grid of settings, judge its claims by the results, and report them.

Plain Python and NumPy; `glassbox.cli.commands.reproduce` trains the runs.
"""
