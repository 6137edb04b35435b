"""The workers: threads that make images and directories right, urgent ones first.

One job per key at a time: whoever asks for a key that is queued moves it forward; whoever asks while it runs has it run
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
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sdgen_thumbnail_plugin.engine.images import TRUNCATED_RETRIES_S
from sdgen_thumbnail_plugin.engine.memory_budget import MemoryBudget, NoRoom
from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.engine.scan import parent_of
from sdgen_thumbnail_plugin.errors import MachineError, OutOfMemoryError, SourceChangedError, TruncatedImageError
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority
from sdgen_thumbnail_plugin.text import printable

__all__ = ["Trouble", "Workers"]

log = logging.getLogger(__name__)

CHANGED_RETRY_S = 0.1
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not an image's fault and keeps work from being done.

    Attributes:
        message: what is wrong, with the path.
        remedy: what to do.
        since_s: since when, in seconds since the epoch.
    """

    message: str
    remedy: str
    since_s: float


class _State(enum.Enum):
    QUEUED = enum.auto()
    RUNNING = enum.auto()
    DELAYED = enum.auto()
    PARKED = enum.auto()
    WAITING = enum.auto()  # a directory whose images are being made


@dataclass(slots=True, eq=False)
class _Job:
    key: str
    is_directory: bool
    priority: Priority
    state: _State = _State.QUEUED
    parents: list[_Job] = field(default_factory=list)
    open_images: int = 0
    again: bool = False
    repeated: bool = False
    made_from: int | None = None
    tries: int = 0
    asked_at_s: float = 0.0

    @property
    def rank(self) -> int:
        """Images, and directories that only need a last look, go before the next directory. Not so what was asked for
        again while it ran: an image that is rewritten all the time would hold up all directories."""
        return 1 if self.repeated or (self.is_directory and not self.tries) else 0


class Workers:
    """A pool of threads around a reconciler.

    Args:
        reconciler: does the work.
        count: how many threads.
        budget_pixels: how many pixels may be decoded at once.
        patient: whether to wait and try again when the machine is at fault; else everything is called off, and
            ``fault`` says why.
        on_outcome: called in a worker's thread after each try at an image, with the seconds since it was asked for.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        count: int,
        budget_pixels: int,
        patient: bool = True,
        on_outcome: Callable[[Outcome, float], None] | None = None,
    ) -> None:
        self.reconciler = reconciler
        self.fault: MachineError | None = None
        self.counts: Counter[OutcomeKind] = Counter()
        self._patient = patient
        self._on_outcome = on_outcome
        self._room = MemoryBudget(budget_pixels)
        self._changed = threading.Condition()
        self._sequence = itertools.count()
        self._jobs: dict[tuple[bool, str], _Job] = {}
        self._ready: list[tuple[int, int, int, _Job]] = []
        self._delayed: list[tuple[float, int, _Job]] = []
        self._parked: deque[_Job] = deque()
        self._backoff: dict[str, tuple[float, float]] = {}
        self._troubles: dict[str | None, Trouble] = {}  # by the key of what cannot be done; None: nothing can
        self._stopped_by = ""  # the key at which it was last found that nothing can be done
        self._paused_until_s = 0.0
        self._pause_s = 0.0
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"thumbnails-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    # -- asking

    def submit_image(self, key: str, priority: Priority) -> None:
        """Asks for one image to be made right."""
        with self._changed:
            self._submit(key, False, priority)

    def submit_directory(self, directory: str, priority: Priority) -> None:
        """Asks for one directory (not those below it) to be made right, with all its images."""
        with self._changed:
            self._submit(directory, True, priority)

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
        elif priority is Priority.URGENT:  # delayed or parked, and something happened to it: now is better
            job.priority = priority
            job.tries = 0
            if job.state is _State.DELAYED:
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

    def is_backing_off(self, directory: str) -> bool:
        """Whether a directory failed a moment ago and should be left alone for a while."""
        return self._backoff.get(directory, (0.0, 0.0))[0] > time.monotonic()

    def is_busy_with(self, directory: str) -> bool:
        """Whether a directory is queued or being worked on."""
        return (True, directory) in self._jobs

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
        self._parked.clear()

    # -- telling

    def queued(self) -> dict[Priority, int]:
        """How many jobs wait or run, by priority."""
        with self._changed:
            found = Counter(job.priority for job in self._jobs.values() if not job.is_directory)
            return {priority: found[priority] for priority in Priority}

    def running(self) -> list[str]:
        """Keys of the images being made."""
        with self._changed:
            return [job.key for job in self._jobs.values() if job.state is _State.RUNNING and not job.is_directory]

    def troubles(self) -> list[Trouble]:
        """What keeps work from being done, oldest first; of the images of one directory the oldest alone."""
        with self._changed:
            found = sorted(self._troubles.items(), key=lambda item: item[1].since_s)
        first: dict[str | None, Trouble] = {}
        for place, trouble in found:
            first.setdefault(place and parent_of(place), trouble)
        return list(first.values())

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
                with self._changed:
                    self._back_off(job.key if job.is_directory else parent_of(job.key))
                    self._end(job)

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                while self._delayed and self._delayed[0][0] <= now_s:
                    job = heapq.heappop(self._delayed)[2]
                    if job.state is _State.DELAYED:
                        self._push(job)
                if now_s >= self._paused_until_s:
                    while self._ready:
                        priority, _, _, job = heapq.heappop(self._ready)
                        if job.state is _State.QUEUED and job.priority == priority:
                            job.state = _State.RUNNING
                            return job
                wakes_s = [self._delayed[0][0]] if self._delayed else []
                if self._ready:
                    wakes_s.append(self._paused_until_s)
                self._changed.wait(max(0.0, min(wakes_s) - now_s) if wakes_s else None)
            return None

    def _run_image(self, job: _Job) -> None:
        try:
            outcome = self.reconciler.make_image_right(
                job.key, room=self._room, made_from=job.made_from, last_try=job.tries >= len(TRUNCATED_RETRIES_S)
            )
        except NoRoom:
            with self._changed:
                job.state = _State.PARKED
                self._parked.append(job)
            return
        except TruncatedImageError:
            self._delay(job, TRUNCATED_RETRIES_S[min(job.tries, len(TRUNCATED_RETRIES_S) - 1)])
            return
        except SourceChangedError:
            job.tries = -1  # another file now: its tries begin anew
            self._delay(job, CHANGED_RETRY_S)
            return
        except (MachineError, MemoryError) as error:
            outcome = self._excuse(job, error if isinstance(error, MachineError) else OutOfMemoryError("out of memory"))
        else:
            job.made_from = outcome.checksum
            self._clear_trouble(job, worked=outcome.kind in (OutcomeKind.CREATED, OutcomeKind.DELETED))
        self._conclude(job, outcome)

    def _conclude(self, job: _Job, outcome: Outcome) -> None:
        self.counts[outcome.kind] += 1
        if self._on_outcome is not None:
            self._on_outcome(outcome, time.monotonic() - job.asked_at_s)
        with self._changed:
            while self._parked:
                self._push(self._parked.popleft())
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
        directory = job.key
        complete = True
        try:
            if not job.tries:
                images, found = self.reconciler.begin_directory(directory)
                for below in found:
                    self.submit_directory(below, job.priority)
                if images:
                    self._open(job, images)
                    return
            else:
                complete = self.reconciler.finish_directory(directory)
        except MachineError as error:
            self._excuse(job, error)
        else:
            if complete:
                self._clear_trouble(job, worked=False)
        with self._changed:
            if not complete:
                self._back_off(directory)
            self._end(job)

    def _open(self, job: _Job, images: list[str]) -> None:
        with self._changed:
            job.state = _State.WAITING
            job.tries = 1
            job.open_images = len(images)
            for key in images:
                self._submit(key, False, job.priority).parents.append(job)
            if self._closing:
                self._end(job)

    def _end(self, job: _Job) -> None:
        """The job is done, unless somebody asked for it again while it ran."""
        if job.again and not self._closing:
            self._repeat(job)
        else:
            self._jobs.pop((job.is_directory, job.key), None)
            parents, job.parents = job.parents, []
            for parent in parents:
                parent.open_images -= 1
                if parent.open_images == 0 and parent.state is _State.WAITING:
                    self._push(parent)
        self._changed.notify_all()

    def _repeat(self, job: _Job) -> None:
        job.again = False
        job.repeated = True
        job.tries = 0
        self._push(job)

    # -- the machine's faults

    def _excuse(self, job: _Job, error: MachineError) -> Outcome:
        directory = job.key if job.is_directory else parent_of(job.key)
        place = None if error.everywhere else job.key
        with self._changed:
            if error.everywhere:
                self._stopped_by = job.key
            if place not in self._troubles or self._troubles[place].message != str(error):
                self._troubles[place] = Trouble(str(error), error.remedy, time.time())
                log.error("✗ %s (%s)", error, error.remedy)
            self._back_off(directory)
            if not self._patient:
                self.fault = self.fault or error
                if error.everywhere:
                    self._call_off()
            elif error.everywhere:
                self._pause_s = min(max(self._pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                self._paused_until_s = time.monotonic() + self._pause_s
        self.reconciler.unsettle(directory)
        return Outcome(job.key, OutcomeKind.DEFERRED, error=str(error))

    def _back_off(self, directory: str) -> None:
        delay_s = min(max(self._backoff.get(directory, (0.0, 0.0))[1] * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._backoff[directory] = (time.monotonic() + delay_s, delay_s)

    def _clear_trouble(self, job: _Job, *, worked: bool) -> None:
        """What a job could do is no trouble any more: its own, and all of a directory's once that is as it should be.
        What stops all work has ended when anything could be written, or when nothing is left that it stopped."""
        if not self._troubles and not self._backoff:
            return
        directory = job.key if job.is_directory else parent_of(job.key)

        def is_settled(place: str) -> bool:
            return place in (job.key, directory) or (job.is_directory and parent_of(place) == directory)

        with self._changed:
            self._backoff.pop(directory, None)
            for place in [place for place in self._troubles if place is not None and is_settled(place)]:
                del self._troubles[place]
            if worked or is_settled(self._stopped_by):
                self._troubles.pop(None, None)
                self._pause_s = self._paused_until_s = 0.0
