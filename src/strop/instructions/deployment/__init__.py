"""Instructions of the family deployment."""
