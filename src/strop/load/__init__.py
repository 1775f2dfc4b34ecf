"""The other side of serving: send requests on a schedule and keep account of every one.

It shares no code with :mod:`strop.serve`, so that its account of what was answered is a second witness.
"""
