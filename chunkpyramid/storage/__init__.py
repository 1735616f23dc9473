"""Bytes: groups and arrays, keys, chunks, shards, and who writes them."""
