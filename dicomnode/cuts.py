"""Where associations with one destination were cut, and whom to blame for it: the destination, or one instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.loading import Row
from dicomnode.studies import Key


@dataclass(slots=True)
class _Cut:
    answers: int  # that the destination had given before the attempt in which it was first cut, or more
    times: int = 0


class Cuts:
    """Cuts while an instance was sent, kept until its study is through; a restart forgets them.

    The instance is to blame where it is cut again, the destination answered others in that first attempt or since, and
    nothing else was cut since the last answer. Else the destination drops whatever comes.
    """

    def __init__(self) -> None:
        self._cuts: dict[Key, dict[str, _Cut]] = {}  # by keys of instances, the one that was cut longest ago first
        self._answers = 0
        self._since: set[str] = set()  # what was cut since the last answer

    def answered(self) -> None:
        """The destination answered an instance."""
        self._answers += 1
        self._since.clear()

    def cut(self, key: Key, instance_key: str, *, progress: bool) -> int:
        """Note a cut; how often this instance has been to blame, or 0 where it is not.

        `progress` says whether the destination answered others in the same attempt.
        """
        self._since.add(instance_key)
        cuts = self._cuts.setdefault(key, {})
        found = cuts.pop(instance_key, None)
        if found is None:
            cuts[instance_key] = _Cut(self._answers - progress)
            return 0
        cuts[instance_key] = found
        blamed = self._answers > found.answers and len(self._since) == 1
        found.times += blamed
        return found.times if blamed else 0

    def apart(self, key: Key, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """The rows of a study that were never cut, then those that were, in the order in which to try them again."""
        places = {instance_key: place for place, instance_key in enumerate(self._cuts.get(key, ()))}
        cut = sorted(
            (row for row in rows if row[0].instance_key in places), key=lambda row: places[row[0].instance_key]
        )
        return [row for row in rows if row[0].instance_key not in places], cut

    def forget(self, key: Key) -> None:
        """The study is through, or starts anew."""
        self._cuts.pop(key, None)
