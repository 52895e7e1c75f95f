"""Builds SFT data from a policy: samples, filters, judges, refines, adds general pairs, writes a data card."""
