"""Data from outside: files of prompts, read, checked, split and handed out."""
