"""Run folders: one, and many."""
