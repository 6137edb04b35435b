"""The workers: threads that reconcile images and directories, urgent ones first.

One job per key at a time: a request for a key that is queued moves it forward; one that comes while it runs has it run
once more afterwards. A directory is a job too; its images are queued in front of the next directory, so that the queue
stays short however many images there are.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sdgen_thumbnail_plugin.engine.backoff import Backoff
from sdgen_thumbnail_plugin.engine.catalog import parent_of
from sdgen_thumbnail_plugin.engine.memory_budget import MemoryBudget
from sdgen_thumbnail_plugin.engine.reconcile import TRUNCATED_RETRIES_S
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler, Pending
from sdgen_thumbnail_plugin.errors import (
    ImageError,
    MachineError,
    OutOfMemoryError,
    SourceChangedError,
    SourceUnfinishedError,
)
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority, Problem
from sdgen_thumbnail_plugin.text import printable

log = logging.getLogger(__name__)

CHANGED_RETRY_S = 0.1


class _State(enum.Enum):
    QUEUED = enum.auto()
    RUNNING = enum.auto()
    DELAYED = enum.auto()
    WAITING = enum.auto()  # a directory whose images are being made


@dataclass(slots=True, eq=False)
class _Job:
    key: str
    is_directory: bool
    priority: Priority
    state: _State = _State.QUEUED
    parents: list[_Job] = field(default_factory=list)
    pending: Pending | None = None  # of a directory that was looked at
    waits_for: int = 0  # images, and the decision about orphans
    held: bool = False  # by that decision
    planned: bool = False  # a look at its directory found that it has to be built
    again: bool = False
    repeated: bool = False
    made_from: int | None = None
    tries: int = 0
    asked_at_s: float = 0.0

    @property
    def directory(self) -> str:
        return self.key if self.is_directory else parent_of(self.key)

    @property
    def rank(self) -> int:
        """Images, and directories that only need a last look, go before the next directory. Not so what was asked for
        again while it ran: an image that is rewritten all the time would hold up all directories."""
        return 1 if self.repeated or (self.is_directory and not self.tries) else 0


class Workers:
    """A pool of threads around the reconcilers.

    Args:
        directories: reconciles directories, and holds the reconciler of images.
        count: how many threads.
        budget_pixels: how many pixels may be decoded at once.
        patient: whether to wait and try again when the machine is at fault; else everything is called off, and
            ``fault`` says why.
        on_outcome: called in a worker's thread after each try at an image, with the seconds since it was asked for.
    """

    def __init__(
        self,
        directories: DirectoryReconciler,
        *,
        count: int,
        budget_pixels: int,
        patient: bool = True,
        on_outcome: Callable[[Outcome, float], None] | None = None,
    ) -> None:
        self.fault: MachineError | None = None
        self.counts: Counter[OutcomeKind] = Counter()
        self._directories = directories
        self._images = directories.images
        self._patient = patient
        self._on_outcome = on_outcome
        self._budget = MemoryBudget(budget_pixels)
        self._backoff = Backoff()
        self._changed = threading.Condition()
        self._sequence = itertools.count()
        self._jobs: dict[tuple[bool, str], _Job] = {}
        self._ready: list[tuple[int, int, int, _Job]] = []
        self._delayed: list[tuple[float, int, _Job]] = []
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"thumbnails-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    # -- asking

    def submit_image(self, key: str, priority: Priority) -> None:
        """Asks for one image to be reconciled."""
        with self._changed:
            self._submit(key, False, priority)

    def submit_directory(
        self, directory: str, priority: Priority, pending: Pending | None = None, *, held: bool = False
    ) -> None:
        """Asks for one directory (not those below it) to be reconciled, with all its images.

        Args:
            directory: its key.
            priority: when.
            pending: what is left to do, where it was looked at a moment ago.
            held: whether it is not to be finished before ``release``, because its orphans wait for a decision.
        """
        with self._changed:
            job = self._jobs.get((True, directory))
            if job is None:
                job = self._submit(directory, True, priority)
                job.pending, job.held, job.waits_for = pending, held, int(held)
            else:
                self._submit(directory, True, priority)

    def release(self, directory: str) -> None:
        """The orphans of a directory that was ``held`` are decided about."""
        with self._changed:
            job = self._jobs.get((True, directory))
            if job is not None and job.held:
                job.held = False
                self._finish_one_of(job)

    def _submit(self, key: str, is_directory: bool, priority: Priority) -> _Job:
        job = self._jobs.get((is_directory, key))
        if job is None:
            job = _Job(key, is_directory, priority, asked_at_s=time.monotonic())
            if not self._closing:
                self._jobs[is_directory, key] = job
                self._push(job)
            return job
        if job.state in (_State.RUNNING, _State.WAITING):
            job.again = True
            job.priority = min(job.priority, priority)
        elif job.state is _State.QUEUED:
            if priority < job.priority:
                job.priority = priority
                self._push(job)
        elif priority is Priority.URGENT:  # delayed, and something happened to it: now is better
            job.priority = priority
            job.tries = 0
            self._push(job)
        return job

    def _push(self, job: _Job) -> None:
        job.state = _State.QUEUED
        heapq.heappush(self._ready, (job.priority, job.rank, next(self._sequence), job))
        self._changed.notify()

    @property
    def is_busy(self) -> bool:
        """Whether anything is queued, delayed or running."""
        return bool(self._jobs)

    def is_busy_with(self, directory: str) -> bool:
        """Whether a directory is queued or being worked on."""
        return (True, directory) in self._jobs

    def is_backing_off(self, directory: str) -> bool:
        """Whether a directory failed a moment ago and should be left alone for a while."""
        return self._backoff.is_left_alone(directory)

    # -- waiting

    def wait_for(self, finished: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Blocks until the condition holds; it is looked at whenever a job ends. Returns whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: finished() or self._closing, timeout_s) and finished()

    def wait_idle(self, timeout_s: float | None = None) -> bool:
        """Blocks until nothing is queued, delayed or running."""
        return self.wait_for(lambda: not self._jobs, timeout_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Takes no more work, finishes what runs, and ends the threads. Returns whether they ended in time."""
        with self._changed:
            self._call_off()
            self._closing = True
            self._changed.notify_all()
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _call_off(self) -> None:
        for job in [job for job in self._jobs.values() if job.state is not _State.RUNNING]:
            del self._jobs[job.is_directory, job.key]
        self._ready.clear()
        self._delayed.clear()

    # -- reporting

    def queued(self) -> dict[Priority, int]:
        """How many images wait or are being made, by priority."""
        with self._changed:
            found = Counter(job.priority for job in self._jobs.values() if not job.is_directory)
            return {priority: found[priority] for priority in Priority}

    def running(self) -> list[str]:
        """Keys of the images being made."""
        with self._changed:
            return [job.key for job in self._jobs.values() if job.state is _State.RUNNING and not job.is_directory]

    def problems(self) -> list[Problem]:
        """What keeps work from being done, oldest first."""
        return self._backoff.problems()

    def count(self, kind: OutcomeKind, number: int = 1) -> None:
        """Adds to ``counts``."""
        with self._changed:
            self.counts[kind] += number

    # -- working

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                if job.is_directory:
                    self._run_directory(job)
                else:
                    self._run_image(job)
            except Exception:  # a bug of ours must not end the thread that everything waits for
                log.exception("✗ Unexpected error at %s", printable(job.key))
                self._backoff.leave_alone(job.directory)
                with self._changed:
                    self._end(job)

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                while self._delayed and self._delayed[0][0] <= now_s:
                    job = heapq.heappop(self._delayed)[2]
                    if job.state is _State.DELAYED:
                        self._push(job)
                if now_s >= self._backoff.paused_until_s:
                    while self._ready:
                        priority, _, _, job = heapq.heappop(self._ready)
                        if job.state is _State.QUEUED and job.priority == priority:
                            job.state = _State.RUNNING
                            return job
                wakes_s = [self._delayed[0][0]] if self._delayed else []
                if self._ready:
                    wakes_s.append(self._backoff.paused_until_s)
                self._changed.wait(max(0.0, min(wakes_s) - now_s) if wakes_s else None)
            return None

    def _run_image(self, job: _Job) -> None:
        planned, job.planned = job.planned, False
        try:
            outcome = self._images.reconcile(
                job.key,
                budget=self._budget,
                planned=planned,
                made_from=job.made_from,
                last_try=job.tries >= len(TRUNCATED_RETRIES_S),
            )
        except SourceUnfinishedError:
            self._delay(job, TRUNCATED_RETRIES_S[min(job.tries, len(TRUNCATED_RETRIES_S) - 1)])
            return
        except SourceChangedError:
            job.tries = -1  # another file now: its tries begin again
            self._delay(job, CHANGED_RETRY_S)
            return
        except ImageError as error:
            outcome = Outcome(job.key, OutcomeKind.FAILED, error=error.message)
        except (MachineError, MemoryError) as error:
            fault = error if isinstance(error, MachineError) else OutOfMemoryError("out of memory")
            self._note_fault(job, fault)
            outcome = Outcome(job.key, OutcomeKind.DEFERRED, error=str(fault))
        else:
            job.made_from = outcome.checksum
        if outcome.kind is not OutcomeKind.DEFERRED:
            wrote = outcome.kind in (OutcomeKind.CREATED, OutcomeKind.DELETED)
            self._backoff.note_success(job.key, job.directory, is_directory=False, wrote=wrote)
        self.count(outcome.kind)
        if self._on_outcome is not None:
            self._on_outcome(outcome, time.monotonic() - job.asked_at_s)
        with self._changed:
            self._end(job)

    def _delay(self, job: _Job, seconds: float) -> None:
        with self._changed:
            job.tries += 1
            if self._closing:
                self._end(job)
            elif job.again:
                self._repeat(job)
            else:
                job.state = _State.DELAYED
                heapq.heappush(self._delayed, (time.monotonic() + seconds, next(self._sequence), job))
                self._changed.notify()

    def _run_directory(self, job: _Job) -> None:
        complete = True
        try:
            if not job.tries:
                pending = job.pending or self._directories.begin(self._directories.look(job.key))
                if job.pending is None and pending.adopted:
                    self.count(OutcomeKind.ADOPTED, pending.adopted)
                for below in pending.found:
                    self.submit_directory(below, job.priority)
                if self._open(job, pending):
                    return
                if pending is job.pending:  # nothing to build, and decided about meanwhile
                    complete = self._directories.finish(pending)
            elif job.pending is not None:
                complete = self._directories.finish(job.pending)
        except MachineError as error:
            self._note_fault(job, error)
        else:
            if complete:
                self._backoff.note_success(job.key, job.key, is_directory=True, wrote=False)
            else:
                self._backoff.leave_alone(job.key)
        with self._changed:
            self._end(job)

    def _open(self, job: _Job, pending: Pending) -> bool:
        """Queues a directory's images; whether there is anything to wait for."""
        images: Sequence[str] = pending.images
        with self._changed:
            if not images and not job.waits_for:
                return False
            job.state = _State.WAITING
            job.pending = pending
            job.tries = 1
            job.waits_for += len(images)
            for key in images:
                image = self._submit(key, False, job.priority)
                image.planned = True
                image.parents.append(job)
            if self._closing:
                self._end(job)
            return True

    def _finish_one_of(self, job: _Job) -> None:
        job.waits_for -= 1
        if job.waits_for == 0 and job.state is _State.WAITING:
            self._push(job)

    def _end(self, job: _Job) -> None:
        """The job is done, unless it was asked for again while it ran."""
        if job.again and not self._closing:
            self._repeat(job)
        else:
            self._jobs.pop((job.is_directory, job.key), None)
            parents, job.parents = job.parents, []
            for parent in parents:
                self._finish_one_of(parent)
        self._changed.notify_all()

    def _repeat(self, job: _Job) -> None:
        job.again = False
        job.repeated = True
        job.tries = job.waits_for = 0
        job.held = False
        job.pending = None
        self._push(job)

    def _note_fault(self, job: _Job, error: MachineError) -> None:
        if self._backoff.note(job.key, job.directory, error, pauses=self._patient):
            log.error("✗ %s (%s)", error, error.remedy)
        if not self._patient:
            with self._changed:
                self.fault = self.fault or error
                if error.everywhere:
                    self._call_off()
        self._directories.catalog.look_again(job.directory)
