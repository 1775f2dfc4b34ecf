"""Runnable workloads on real models and data."""
