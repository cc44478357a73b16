"""Stages what people are paged for, with real processes, and writes what is seen of it into docs/operations.md."""
