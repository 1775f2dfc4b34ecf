"""Serving a bundle: a scheduler without clock or threads, a protocol without sockets, and the thin shell around them."""
