"""Serve: the HTTP contract, its routes and the web page, over any backend."""
