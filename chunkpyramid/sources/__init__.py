"""Every kind of source, opened."""
