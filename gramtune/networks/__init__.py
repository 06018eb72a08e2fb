"""Networks: one pair of generator and critic per file."""
