"""Builds SFT data from a policy: samples, filters, judges, refines, adds general pairs, asks people for a review,
writes a data card.
"""
