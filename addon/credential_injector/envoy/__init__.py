"""Envoy as the engine: its configuration, and the files of tokens that it reads.

Pure, but for `files.py`, `refusals.py`, `feeder.py` and `engine.py`.
"""
