"""The command line: one file per command, thin; what is heavy is imported inside the command."""
