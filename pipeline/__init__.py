"""The driver: command line, configuration, plan, execution, status, report. It loads no engine."""
