"""Train models that can be read: swappable loss heads, interpretability measured while training."""
