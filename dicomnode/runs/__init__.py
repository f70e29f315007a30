"""One batch of reviewed studies: retrieved, de-identified, handed to the site's hook, pushed; with an audit trail.

Each step leaves a file; a run that stopped goes on with the first step that has left none.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from dicomnode import hooks
from dicomnode.config import Settings
from dicomnode.errors import DicomnodeError, PermanentError
from dicomnode.hooks import HookFailed
from dicomnode.model import Study, StudyState
from dicomnode.originals import FOLDER, Originals
from dicomnode.retrieve import Report
from dicomnode.running import Ask
from dicomnode.runs import folder as files
from dicomnode.runs import steps
from dicomnode.runs.folder import Overview, RunFolder, minute
from dicomnode.store.identity import IdentityBook
from dicomnode.store.jobs import CANCELLED, ENDED, LACKING, NOT_FETCHED, Job, Retrieval
from dicomnode.store.journal import Journal

ANOTHER = "begin another: dicomnode run --list FILE"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says of a run."""

    push: bool = True
    practice: bool = False
    keep_clean: bool = False
    restart: bool = False
    show: Callable[[str], None] = print


class Run:
    """A run at work, on a node that `ask` gives commands to; what it needs to know it reads from the node's stores."""

    def __init__(
        self, settings: Settings, folder: RunFolder, ask: Ask, book: IdentityBook, journal: Journal, options: Options
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.options = options
        self._ask = ask
        self._book = book
        self._journal = journal

    def work(self) -> int:
        """Do what is left to do; 0 when all of it was done. Raises DicomnodeError."""
        with closing(Overview(self.folder, self.options.show)) as overview:
            retrieval = self._book.jobs.of_run(str(self.folder.path))
            if retrieval is None:
                raise PermanentError("nothing was asked for in this run", self._others() or ANOTHER)
            try:
                if self.options.restart and not self.folder.has(files.DONE):
                    retrieval = self._fetch_again(retrieval, overview)
                return self._steps(retrieval, overview)
            except DicomnodeError as error:
                overview.write(f"Stopped: {error.what}\n")
                raise

    def _steps(self, retrieval: Retrieval, overview: Overview) -> int:
        if not self.folder.has(files.PULLED):
            self._pull(retrieval, overview)
        if not self.folder.has(files.ANONYMIZED):
            steps.anonymized(self.folder, self._studies(retrieval), self._journal, self._quarantined)
        if not self.folder.has(files.MISSING):
            reviews = self._book.jobs.reviews(retrieval.id)
            steps.protocol(self.folder, self._studies(retrieval), self._journal, reviews, overview)
        if not self.folder.has(files.HOOKED):
            self._hook(retrieval, overview)
        if self.options.practice:
            if not self.options.keep_clean:
                self.folder.remove(files.TO_PRODUCTION)
            self.options.show("a practice run: nothing was pushed, and its store is erased")
            return 0
        if not self.options.push:
            self.options.show(f"nothing was pushed; {retrieval.go_on} pushes")
            return 0
        if self.folder.has(files.DONE):
            others = self._others()
            self.options.show(f"this run has ended; {others or ANOTHER}")
            return 1 if others else 0
        code = self._push(retrieval, overview)
        if self.options.restart and (others := self._others()):
            self.options.show(others)
        return code

    def _others(self) -> str:
        """The other runs in the same place that have not ended, each with how to go on with it; mostly none."""
        said = []
        for _, path in files.runs(self.folder.path.parent):
            found = None if RunFolder(path).has(files.DONE) else self._book.jobs.of_run(str(path))
            if path != self.folder.path and found and set(self._book.jobs.counts(found.id)) - {CANCELLED}:
                said.append(f"{path.name} has not ended: {found.go_on}")
        return "; ".join(said)

    def _fetch_again(self, retrieval: Retrieval, overview: Overview) -> Retrieval:
        """What did not come whole is fetched anew, and with it come the later steps."""
        lacking = [job for job, _ in self._studies(retrieval) if job.state in LACKING]
        if not lacking or not self.folder.has(files.PULLED):
            return retrieval
        overview.say(f"{len(lacking)} studies that did not come whole are fetched again")
        for name in (files.PULLED, files.ANONYMIZED, files.MISSING, files.HOOKED):
            self.folder.forget(name)
        self._command("run", do="again", retrieval=retrieval.id)
        return self._book.jobs.retrieval(retrieval.id) or retrieval

    def _pull(self, retrieval: Retrieval, overview: Overview) -> None:
        said: list[str] = []

        def note(document: dict[str, object]) -> None:
            line = steps.told(document)
            if line:
                said.append(line)
                self.options.show(line)

        if not self.folder.has(files.STUDIES):
            raise PermanentError("this run was never set up", f"give it up: dicomnode jobs cancel {retrieval.id}")
        wanted = self.folder.lines(files.STUDIES)
        self._command("run", do="keep", retrieval=retrieval.id, names=wanted)
        if retrieval.state not in (ENDED, CANCELLED):
            self._command("retrieve", do="resume", retrieval=retrieval.id)
        self._command("retrieve", note, do="follow", retrieval=retrieval.id)
        ended = self._book.jobs.retrieval(retrieval.id)
        if ended is None or ended.state not in (ENDED, CANCELLED):
            raise PermanentError("not all studies could be asked for", f"when the source answers: {retrieval.go_on}")
        studies = self._studies(retrieval)
        here = [study for _, study in studies if study is not None]
        kept = steps.take_originals(self.folder, studies, Originals(self.settings.storage.directory / FOLDER, {}))
        self._command("run", do="taken", retrieval=retrieval.id)
        if kept:
            said.append(f"{kept} sealed originals are in {files.FROM_STAGING}; dicomnode unseal opens them")
        self.folder.write(files.PULLED, [*said, *steps.outcomes(studies)])
        count = sum(steps.received(job, study) for job, study in studies)
        overview.say(f"Received {count} files containing {len(here)} studies")

    def _hook(self, retrieval: Retrieval, overview: Overview) -> None:
        hook = self.settings.projects[retrieval.project].hooks
        studies = self._studies(retrieval)
        complete = [study for _, study in studies if study is not None and study.state in steps.READY]
        if hook.run is None:
            self.folder.write(files.HOOKED, ["no hook is named in the project"])
            return
        exported = steps.export(self.folder, complete, self._journal, self.settings)
        rest = [(job, study) for job, study in studies if job.study_key not in exported]
        before = steps.delivered_before(rest, self._journal, self.folder.started())
        if before:
            overview.say(f"{len(before)} studies had been delivered before this run: the hook gets no files of them")
        try:
            stream = cast(TextIO, overview)
            text = hooks.call_run(hook.run, self.folder.path, stream, self.options.practice, hook.timeout)
        except HookFailed as error:
            self._command("run", do="hook-failed", retrieval=retrieval.id, error=str(error))
            raise
        self.folder.write(files.HOOKED, [text])

    def _push(self, retrieval: Retrieval, overview: Overview) -> int:
        going = {job.name: study for job, study in self._studies(retrieval) if study is not None}
        if self.options.keep_clean:
            steps.export(self.folder, going.values(), self._journal, self.settings)
        self.folder.start()
        self._command("run", do="release", retrieval=retrieval.id)
        self._command("retrieve", do="follow", retrieval=retrieval.id)
        studies = self._studies(retrieval, going)
        since = self.folder.started()
        before = steps.delivered_before(studies, self._journal, since)
        self.folder.write(files.PUSHED, steps.deliveries(studies, self._journal, self._book.jobs, since, before))
        over = {job.name for job, study in studies if study is not None and study.state in steps.PUSHED}
        pushed = over - set(before)
        overview.say(f"Push completed at {minute()}")
        overview.say(f"{len(pushed)} studies marked as pushed")
        if before:
            overview.say(f"{len(before)} studies had been delivered before this run, see '{files.PUSHED}'.")
        left = [name for name in self.folder.lines(files.STUDIES) if name not in over]
        if left:
            overview.say(f"{len(left)} studies were not pushed:\n {' '.join(left)}")
            self.options.show(f"{files.PUSHED} says why")
        if not self.options.keep_clean:
            self.folder.remove(files.TO_PRODUCTION)
        if all(job.state not in LACKING and (study is None or study.state in steps.OVER) for job, study in studies):
            self.folder.write(files.DONE, [f"Pipeline completed at {minute()}"])
        return 1 if left else 0

    def _studies(self, retrieval: Retrieval, going: Container[str] = ()) -> list[tuple[Job, Study | None]]:
        """The jobs of the run that are still wanted, with their studies where something of them is here.

        One that the run never fetched has none, even if an earlier run has brought it; but what waits goes with the
        push, so that the hook has to see it, and what was `going` then stays in the run.
        """
        jobs = [job for job in steps.pages(self._book.jobs, retrieval.id) if job.state != "cancelled"]
        return [(job, self._study(retrieval, job, job.name in going)) for job in jobs]

    def _study(self, retrieval: Retrieval, job: Job, going: bool) -> Study | None:
        study = self._journal.get_study(retrieval.project, job.study_key)
        fetched = job.state not in NOT_FETCHED or job.here or going
        return study if study is not None and (fetched or study.state is StudyState.HELD) else None

    @property
    def _quarantined(self) -> Path:
        return self.settings.storage.directory / "quarantine"

    def _command(self, command: str, report: Report = lambda _: None, **request: object) -> int:
        return self._ask({"command": command, **request}, report)
