"""`dicomnode demo`: two small PACS and the real node between them, on this machine."""

from __future__ import annotations

import click


@click.command()
def demo() -> int:
    """Show the way of an instance end to end, on loopback ports and in a temporary directory."""
    from dicomnode.demo import run

    return run()
