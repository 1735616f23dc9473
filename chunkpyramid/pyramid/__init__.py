"""Pyramids: planned, built, continued, updated and verified, on the engine."""
