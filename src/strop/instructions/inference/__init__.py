"""Instructions of the family inference."""
