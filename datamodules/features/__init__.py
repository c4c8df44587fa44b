"""Random features, drawn anew at every step."""
