"""Shared by all data modules: order, rank and seeds, option checks, member batches."""
