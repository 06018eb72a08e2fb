"""What makes a sweep happen: driver, trial runner, capacity, run directory."""
