"""Propose recipes, climb, prune, choose and confirm: within a time budget, every step on disk."""
