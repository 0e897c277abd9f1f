"""Faults made on purpose, and what must hold under them."""
