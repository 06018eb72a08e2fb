"""The command line: one short file per command. Heavy modules are imported inside the command."""
