"""The commands of `r1`, one file each."""
