"""Evaluation [V2 D.1]: suites, sampling that resumes per sample, grading while others decode, statistics, comparisons."""
