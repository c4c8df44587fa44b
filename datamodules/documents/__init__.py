"""Streams of text documents from files and from the Hugging Face hub."""
