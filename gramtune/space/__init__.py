"""What the user wrote, read and checked: domains, the sweep, its plan."""
