"""What ``benchmarks/embedding.py`` is made of: contenders, texts, rounds that can be resumed, tables and plots."""
