"""Instructions of the family data."""
