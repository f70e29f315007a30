"""`dicomnode serve`: the node itself."""

from __future__ import annotations

import click

from dicomnode.cli.options import configured
from dicomnode.config import Settings


@click.command()
@configured(quiet=False)
def serve(settings: Settings) -> int:
    """Run the node until SIGTERM or SIGINT; a second signal leaves at once."""
    from dicomnode import running

    return running.serve(settings)
