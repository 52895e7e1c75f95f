"""What both halves read and write in a stage directory: typed files, record logs, checksums. Imports no engine."""
