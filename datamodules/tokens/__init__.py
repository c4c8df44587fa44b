"""Token shards: tokenize, write, check, read, batch."""
