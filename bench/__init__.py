"""Suites, the runner, the results store, tables, comparison, report, the command line."""
