"""Deliverables of the family deployment."""
