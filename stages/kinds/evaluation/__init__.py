"""Evaluation [V2 D.1]: suites, sampling that resumes sample by sample, grading, statistics, comparisons."""
