"""The only room that knows the terminal: parses, calls, prints."""

from kdbench.cli.app import app, main

__all__ = ["app", "main"]
