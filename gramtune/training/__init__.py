"""One trial, without Ray: configuration, training loop, evaluation."""
