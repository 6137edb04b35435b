"""The decision, and nothing else: source stamps x thumbnail stamps x known failures -> actions with reasons.

Pure: no disk, no clock, no order of the inputs matters. After a plan has been carried out, planning again yields
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter

from sdgen_thumbnail_plugin.errors import NameTakenError
from sdgen_thumbnail_plugin.model import (
    SOURCE_SUFFIX,
    THUMBNAIL_SUFFIX,
    Action,
    ActionKind,
    Failure,
    Reason,
    Stamp,
)

__all__ = [
    "Rules",
    "all_exact",
    "holds_back",
    "is_fresh",
    "key_of_thumbnail",
    "nearly_equal",
    "plan_directory",
    "plan_image",
    "rivals",
    "thumbnail_key",
    "untold_by_times",
]


_SECOND_NS = 1_000_000_000

COARSEST_TIMES_NS = 2_000_000_000
"""FAT keeps even seconds; no file system in use is coarser."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What stamps can be trusted for.

    Attributes:
        keeps_times: whether a thumbnail carries its source's time (else it must be later than its source).
        tolerance_ns: how far the two times may lie apart, in nanoseconds.
        version: our version; a failure of another version is tried again.
        adopting: whether the directory is seen for the first time, so that a thumbnail somebody else made, newer than
            its source, counts as fresh once.
        same_recipe: whether the directory's thumbnails were made with today's settings.
    """

    keeps_times: bool = True
    tolerance_ns: int = 0
    version: str = ""
    adopting: bool = False
    same_recipe: bool = True


def thumbnail_key(key: str) -> str:
    """The thumbnail's key: the image's with the suffix ``.webp``."""
    return key[: -len(SOURCE_SUFFIX)] + THUMBNAIL_SUFFIX


def key_of_thumbnail(key: str) -> str:
    """The key of the image that a thumbnail most likely shows (the suffix in lower case)."""
    return key[: -len(THUMBNAIL_SUFFIX)] + SOURCE_SUFFIX


def _rank(key: str) -> tuple[bool, str]:
    return not key.endswith(SOURCE_SUFFIX), key


def rivals(key: str) -> list[str]:
    """All keys that share this key's thumbnail (``a.png``, ``a.PNG``, ``a.Png`` …), the one it belongs to first."""
    stem, suffix = key[: -len(SOURCE_SUFFIX)], SOURCE_SUFFIX[1:]
    variants = [""]
    for letter in suffix:
        variants = [start + case for start in variants for case in (letter, letter.upper())]
    return sorted((f"{stem}.{variant}" for variant in variants), key=_rank)


def is_fresh(source: Stamp, thumbnail: Stamp | None, rules: Rules) -> bool:
    """Whether the thumbnail shows its source as it is now, made with today's settings.

    Equality of times, not "newer than": an older file copied over a newer one is a change too.
    """
    if thumbnail is None or thumbnail.size == 0 or not rules.same_recipe:
        return False
    if rules.keeps_times:
        return abs(thumbnail.mtime_ns - source.mtime_ns) <= rules.tolerance_ns
    return thumbnail.mtime_ns > source.mtime_ns


def nearly_equal(source: Stamp, thumbnail: Stamp | None) -> bool:
    """Whether two times differ, but by so little that a coarse file system may be the reason."""
    return thumbnail is not None and 0 < abs(thumbnail.mtime_ns - source.mtime_ns) <= COARSEST_TIMES_NS


def _still_holds(failure: Failure | None, source: Stamp, rules: Rules) -> bool:
    return failure is not None and failure.stamp == source and failure.version == rules.version


def plan_image(
    key: str, source: Stamp, thumbnail: Stamp | None, *, failure: Failure | None = None, rules: Rules
) -> Action | None:
    """What one image needs; None where it needs nothing.

    Args:
        key: the image's key.
        source: its stamp.
        thumbnail: its thumbnail's stamp; None where there is none.
        failure: what is known of an earlier failure.
        rules: what stamps can be trusted for.
    """
    if is_fresh(source, thumbnail, rules):
        return None
    name_was_taken = failure is not None and failure.kind == NameTakenError.__name__  # but is free again
    if _still_holds(failure, source, rules) and not name_was_taken:
        # A thumbnail of what the file showed before it broke is a wrong thumbnail.
        return Action(thumbnail_key(key), ActionKind.DELETE, Reason.UNSHOWABLE, source) if thumbnail else None
    if thumbnail is None:
        return Action(key, ActionKind.BUILD, Reason.MISSING, source)
    if thumbnail.size == 0:
        return Action(key, ActionKind.BUILD, Reason.EMPTY, source)
    if not rules.same_recipe:
        return Action(key, ActionKind.BUILD, Reason.RECIPE, source)
    if rules.adopting and rules.keeps_times and thumbnail.mtime_ns > source.mtime_ns:
        return Action(key, ActionKind.ADOPT, Reason.FOREIGN, source)
    return Action(key, ActionKind.BUILD, Reason.STALE, source)


def plan_directory(
    sources: Mapping[str, Stamp],
    thumbnails: Mapping[str, Stamp],
    failures: Mapping[str, Failure],
    *,
    rules: Rules,
    temporaries: Iterable[str] = (),
    remade: Collection[str] = (),
    mistaken: Collection[str] = (),
) -> tuple[Action, ...]:
    """What one directory needs, deletes last, otherwise in the order of the keys.

    Args:
        sources: key to stamp of every image in the directory.
        thumbnails: key to stamp of every thumbnail in the same directory of the target.
        failures: what is known of earlier failures, by key.
        rules: what stamps can be trusted for.
        temporaries: keys of unfinished files found in the target.
        remade: keys of images whose thumbnails have today's settings though the directory's have not all.
        mistaken: keys of images whose thumbnails carry their time, but are known to show another image.
    """
    by_today = replace(rules, same_recipe=True, adopting=False) if remade else rules
    owner: dict[str, str] = {}
    for key in sorted(sources, key=_rank):
        owner.setdefault(thumbnail_key(key), key)

    changes: list[Action] = []
    deletes: list[Action] = []
    for key in sorted(sources):
        wanted = thumbnail_key(key)
        if owner[wanted] != key:
            if not _still_holds(failures.get(key), sources[key], rules):
                changes.append(Action(key, ActionKind.REFUSE, Reason.NAME_TAKEN, sources[key]))
            continue
        action = plan_image(
            key,
            sources[key],
            thumbnails.get(wanted),
            failure=failures.get(key),
            rules=by_today if key in remade else rules,
        )
        if action is None and key in mistaken:
            action = Action(key, ActionKind.BUILD, Reason.MISTAKEN, sources[key])
        if action is not None:
            (deletes if action.kind is ActionKind.DELETE else changes).append(action)
    deletes += [Action(key, ActionKind.DELETE, Reason.ORPHAN) for key in sorted(thumbnails) if key not in owner]
    deletes += [Action(key, ActionKind.SWEEP, Reason.LEFT_OVER) for key in sorted(temporaries)]
    return (*changes, *deletes)


def all_exact(sources: Mapping[str, Stamp], thumbnails: Mapping[str, Stamp]) -> bool:
    """Whether every image has a thumbnail that carries exactly its time, and there is nothing besides: then, made with
    today's settings, the directory needs nothing, whatever else is known. What nearly all looks find, in one pass.

    Keys in ``.png`` alone: only their thumbnails are certain to be theirs. A key that holds ``.png`` twice is refused
    here too, and left to the plan.
    """
    if len(sources) != len(thumbnails):
        return False
    wanted = {key.replace(SOURCE_SUFFIX, THUMBNAIL_SUFFIX): stamp[0] for key, stamp in sources.items()}
    return wanted == {key: stamp[0] if stamp[1] else None for key, stamp in thumbnails.items()}


def untold_by_times(sources: Mapping[str, Stamp]) -> list[str]:
    """The images whose time does not tell which image it is, in the order of their keys: it is in whole seconds, as
    archives and FAT make them, or another image of the directory has the same."""
    different = set(map(itemgetter(0), sources.values()))
    if len(different) == len(sources) and all(map(_SECOND_NS.__rmod__, different)):  # nearly always
        return []
    times = Counter(stamp[0] for stamp in sources.values())
    common = {time_ns for time_ns, count in times.items() if count > 1 or time_ns % _SECOND_NS == 0}
    return [key for key in sorted(sources) if sources[key][0] in common]


def holds_back(orphans: int, thumbnails: int, *, count: int = 100, fraction: float = 0.2) -> bool:
    """Whether an audit would delete so many thumbnails that a person should decide.

    Args:
        orphans: how many it would delete.
        thumbnails: how many there are in all.
        count, fraction: both limits must be passed (DESIGN: more than 100 and a fifth of all).
    """
    return orphans > count and orphans > thumbnails * fraction
