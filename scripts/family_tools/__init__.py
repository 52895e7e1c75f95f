"""Tiny random models of many families, and what is asked of each, for scripts/check_families.py."""
