"""Losses over large vocabularies that never store tokens × vocabulary logits."""
