"""Labeled texts: read, clean, encode, batch."""
