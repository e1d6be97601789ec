"""The parts of benchmarks/architectures.py."""
