"""This server beside others on the same work: `python -m scripts.bench peers`."""
