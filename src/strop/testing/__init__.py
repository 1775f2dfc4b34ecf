"""Suites, stand-ins and samples for tests, shipped to authors of plug-ins."""
