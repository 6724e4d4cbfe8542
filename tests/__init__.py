"""Tests in rings: unit (no server), integration (real servers), chaos, benchmarks."""
