"""What was measured, kept in a file so that parts that were run one after the other make one page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from kinds import KINDS
from measure import Case, Measured
from page import image, table
from plot import bars

HEAD = ["program", "instances/s at the sink", "MB/s sent", "answers/s", "CPU ms", "start-up CPU s", "peak MB", "tail s"]
Results = dict[Case, dict[str, list[Measured]]]


def read(path: Path) -> tuple[dict[str, str], Results]:
    """The machine and the runs of a file; empty when there is none."""
    if not path.exists():
        return {}, {}
    kept = json.loads(path.read_text())
    results = {
        Case(**case["case"]): {name: [Measured(**run) for run in runs] for name, runs in case["programs"].items()}
        for case in kept["cases"]
    }
    return kept["machine"], results


def keep(path: Path, machine: Mapping[str, str], results: Results) -> None:
    """Write the file anew."""
    cases = [
        {
            "case": asdict(case),
            "programs": {name: [run.json() for run in runs] for name, runs in programs.items()},
        }
        for case, programs in results.items()
    ]
    path.write_text(json.dumps({"machine": dict(machine), "cases": cases}, indent=1) + "\n")


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and in brackets the least and the most."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _failures(runs: Sequence[Measured]) -> str:
    count = sum(run.instances for run in runs)
    parts = [f"{count}"]
    for name, said in (("refused", "refused"), ("lost", "not delivered in time"), ("broken", "associations failed")):
        total = sum(getattr(run, name) for run in runs)
        if total:
            parts.append(f"**{total} {said}**")
    return ", ".join(parts)


def case_table(case: Case, programs: Mapping[str, Sequence[Measured]]) -> str:
    """The Markdown table of one case, and how many times the others ours is."""
    rows = []
    for name, runs in programs.items():
        digits = 0 if median(run.rate for run in runs) >= 20 else 1
        columns = [
            spread([run.rate for run in runs], digits),
            spread([run.megabytes for run in runs]),
            spread([run.answers for run in runs], digits),
            spread([run.cpu for run in runs], 2),
            spread([run.startup for run in runs], 1),
            spread([run.peak for run in runs]),
            spread([run.tail for run in runs], 1),
        ]
        rows.append([name, *columns, _failures(runs)])
    return "\n".join([f"**{case}**", "", table([*HEAD, "instances"], rows), *_ratios(programs)])


def _ratios(programs: Mapping[str, Sequence[Measured]]) -> Iterator[str]:
    rate = {name: median(run.sustained for run in runs) for name, runs in programs.items()}
    ours = rate.pop("dicomnode", 0)
    others = {name: value for name, value in rate.items() if value and not name.startswith("limit")}
    if ours and others:
        yield "\ndicomnode is " + ", ".join(f"{ours / value:.2f} × {name}" for name, value in others.items()) + "."


def _order(case: Case) -> tuple[object, ...]:
    return list(KINDS).index(case.kind), not case.no_delay, case.sender != "storescu", case.associations


def groups(results: Results) -> dict[str, Results]:
    """The results by plot, all in the same order however they were measured: CT, small, multi-frame, compressed."""
    found: dict[str, Results] = {}
    for case in sorted(results, key=_order):
        name = case.kind if case.kind in ("ct", "small", "multiframe") else "compressed"
        found.setdefault(name, {})[case] = results[case]
    return found


def text(machine: Mapping[str, str], results: Results) -> str:
    """The generated part of the page."""
    runs = [run for programs in results.values() for each in programs.values() for run in each]
    rounds = sorted({len(each) for programs in results.values() for each in programs.values()})
    lengths = sorted({round(run.seconds) for run in runs})
    said = [f"- {key}: {value}" for key, value in machine.items()]
    said.append(
        f"- rounds: {_range(rounds)}; senders push for {_range(lengths)} s in each; the programs in turn within a "
        "round; medians, in brackets the least and the most"
    )
    parts = ["\n".join(said)]
    for name, group in groups(results).items():
        parts.append(image(f"throughput-{name}", f"instances per second, {name}"))
        parts += [case_table(case, programs) for case, programs in group.items()]
    return "\n\n".join(parts)


def _range(values: Sequence[int]) -> str:
    return f"{values[0]} to {values[-1]}" if len(values) > 1 else f"{values[0]}"


def plots(results: Results) -> dict[str, str]:
    """Bars of the sustained rates of all cases, by group."""
    return {f"throughput-{name}": _plot(group) for name, group in groups(results).items()}


def _plot(results: Results) -> str:
    shown = {}
    for case, programs in results.items():
        rates = {name: [run.sustained for run in runs] for name, runs in programs.items()}
        shown[str(case)] = {name: (median(each), min(each), max(each)) for name, each in rates.items()}
    return bars("Instances per second, answered and delivered (storescp: answered)", shown)
