"""The measuring instrument: knows callables, clocks, processes and hosts; has never heard of a model."""
