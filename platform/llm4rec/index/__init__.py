"""Searchable vectors: the items themselves, and the evidence that explains them."""
