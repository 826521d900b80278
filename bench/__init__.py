"""Every speed figure in the documents has its command here; `python -m bench.engine` measures the step engine."""
