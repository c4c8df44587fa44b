"""Callbacks that keep a run: folder, checkpoints, resume, stop, progress, summary, throughput."""
