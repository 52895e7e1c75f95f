"""Parts of check_memory.py."""
