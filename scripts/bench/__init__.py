"""Measures the server against its budgets: `python -m scripts.bench`, see docs/performance.md."""
