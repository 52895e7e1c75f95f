"""`r1 data prepare` and `r1 data inspect`: filters, duplicates, contamination, pass rates and the data card."""
