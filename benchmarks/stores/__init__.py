"""What ``benchmarks/store.py`` is made of: made-up chunks, contenders, processes, tables and plots."""
