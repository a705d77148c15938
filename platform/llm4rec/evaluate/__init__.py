"""Measure recommenders under one protocol, and report it as metrics.json and index.html."""
