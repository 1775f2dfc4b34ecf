"""Techniques that write files from a bundle: one file ``<family>/iNN_<name>.py`` each, found by the catalogue."""
