"""Oracles and stores that several tests share."""
