"""Propose recipes, race them, compose, prune, confirm: within a time budget, every step on disk."""
