"""The history of readings: how large it is on the disk, and how fast it is read and written."""
