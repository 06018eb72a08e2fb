"""What the results mean: paired differences, sensitivity, replay, re-evaluation."""
