"""`dicomnode reidentify`: who a pseudonym is. Each look-up leaves an audit record, before the answer."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode import running
from dicomnode.cli.options import as_json, configured, say_json
from dicomnode.config import Settings


@click.command()
@configured()
@click.argument("values", metavar="PSEUDONYM...", nargs=-1)
@click.option("--run", "run", type=click.Path(path_type=Path), help="All studies of this run: a folder data/run_at_...")
@as_json
def reidentify(settings: Settings, values: tuple[str, ...], run: Path | None, as_json: bool) -> int:
    """Print the originals of pseudonyms: patient, accession number, UID, or the key of a study. They identify.

    Who asked, when, and about which studies stands in the journal. Exit 1 when one is not known.
    """
    if bool(values) == (run is not None):
        raise click.UsageError("name pseudonyms, or a run with --run")
    request: dict[str, object] = {"command": "reidentify", "do": "values", "values": list(values)}
    if run is not None:
        request = {"command": "reidentify", "do": "run", "run": str(run.absolute())}
    found: list[dict[str, object]] = []
    code = running.ask_node(settings, lambda ask: ask(request, found.append))
    if as_json:
        say_json(found)
        return code
    for each in found:
        click.echo(f"{each['cleaned']}  {each['attribute']}  {each['original']}")
        comments = each.get("comments")
        for comment in comments if isinstance(comments, list) else []:
            click.echo(f"\t{comment}")
    if code:
        unknown = set(range(1, len(values) + 1)) - {each.get("number") for each in found}
        which = f": number {', '.join(map(str, sorted(unknown)))} of those asked for" if unknown else ""
        click.echo(f"not all of them are known{which}", err=True)
    return code
