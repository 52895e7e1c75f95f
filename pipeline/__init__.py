"""The driver half: command line, configuration, plan, launching, Prefect flow, status. Imports no engine
(tests/unit/test_import_rules.py).
"""
