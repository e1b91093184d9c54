"""Environment files: read, checked, watched."""
