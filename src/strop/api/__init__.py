"""The verbs, one per file; the command line calls these and has no powers of its own."""
