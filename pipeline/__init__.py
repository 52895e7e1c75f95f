"""The driver half: command line, configuration, plan, launching, Prefect flow, status. Imports no engine (tests/test_import_rules.py)."""
