"""What an instruction, a workload, a recipe and an engine are. No behaviour, no torch at import."""
