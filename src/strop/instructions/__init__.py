"""Techniques that change something: one file ``<family>/iNN_<name>.py`` each, found by the catalogue; none imports another."""
