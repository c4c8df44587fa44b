"""Probes: callbacks that measure and draw a representation while the model trains."""
