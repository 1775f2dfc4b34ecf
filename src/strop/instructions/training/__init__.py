"""Instructions of the family training."""
