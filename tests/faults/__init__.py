"""Faults against the real service with jobs in flight. `make faults` runs all, `make test` those that are quick."""
