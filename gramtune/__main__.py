"""Runs the command line: `python -m gramtune`."""

from gramtune.cli.main import script

if __name__ == "__main__":
    script()
