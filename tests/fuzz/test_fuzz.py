"""Short fixed-seed runs; minutes of looking for new code with DICOMNODE_FUZZ_MINUTES=10 make test ARGS=tests/fuzz."""

from __future__ import annotations

import os
import time
import warnings

import pytest
from engine import ENGINE
from seeking import CORPUS, Target, by_coverage, plainly
from targets import CONFIG, LISTENER, RULES_FILE

MINUTES = float(os.environ.get("DICOMNODE_FUZZ_MINUTES", "0"))
COUNTS = {"listener": 10000, "engine": 4000, "config": 600, "rules": 300}
TARGETS = (LISTENER, ENGINE, CONFIG, RULES_FILE)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_went_wrong_once_does_not_again(target: Target) -> None:
    for path in target.corpus():
        target.run(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_goes_wrong(target: Target) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if MINUTES:
            findings = by_coverage(target, time.time_ns(), MINUTES * 60)
        else:
            findings = plainly(target, 20_260_101, COUNTS[target.name])
    print(f"{target.name}: {findings.tried} inputs, {findings.kept} of them new")
    assert not findings.inputs, "\n".join(findings.save(CORPUS / target.name))
