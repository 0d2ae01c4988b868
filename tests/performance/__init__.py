"""What the gateway costs: `make bench` starts what it measures and writes docs/performance/benchmarks.md."""
