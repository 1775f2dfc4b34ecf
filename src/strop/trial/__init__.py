"""A trial's two processes: one prepares the artefact, another only opens and runs it."""
