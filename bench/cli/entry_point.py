"""The entry point of the installed command.

A worker process imports what the script of its parent does; it needs no command line.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from latentbench.bench.cli.app import main as run

    run()
