"""What ``benchmarks/server.py`` is made of: the servers it measures, and clients that cost little themselves."""
