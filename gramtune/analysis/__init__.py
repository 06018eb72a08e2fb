"""Analyses results: paired differences, verdicts, sensitivity scores, replay, re-evaluation."""
