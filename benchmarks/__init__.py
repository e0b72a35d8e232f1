"""Measurements of djdeploy on the Docker target: `python -m benchmarks`, or `make bench`."""
