"""The decision, and nothing else: what there is -> what to do, with reasons.

Pure: no disk, no clock, and the order of the inputs does not matter. After a plan has been applied, planning again
yields nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter

from sdgen_thumbnail_plugin.errors import NameTakenError
from sdgen_thumbnail_plugin.imaging.webp import Head
from sdgen_thumbnail_plugin.model import (
    SOURCE_SUFFIX,
    THUMBNAIL_SUFFIX,
    Action,
    ActionKind,
    Failure,
    Reason,
    Recipe,
    Stamp,
)

_SECOND_NS = 1_000_000_000

COARSEST_TIMES_NS = 2_000_000_000
"""FAT keeps even seconds; no file system in use is coarser."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What can be trusted in one directory.

    Attributes:
        recipe: today's settings.
        version: our version; a failure of another version is tried again.
        by_times: whether a thumbnail carries its source's time; where not, its mark has to say what it shows.
        tolerance_ns: how far the two times may lie apart, in nanoseconds.
        adopting: whether the directory is seen for the first time, so that a thumbnail that another program made, newer
            than its source, counts as fresh once.
        same_settings: whether thumbnails that do not say it themselves are made with today's settings.
    """

    recipe: Recipe
    version: str = ""
    by_times: bool = True
    tolerance_ns: int = 0
    adopting: bool = False
    same_settings: bool = True


# -- names


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


# -- freshness


def within_tolerance(source: Stamp, thumbnail: Stamp) -> bool:
    """Whether two times differ, but by so little that a coarse file system may be the reason."""
    return 0 < abs(thumbnail.version - source.version) <= COARSEST_TIMES_NS


def same_settings(head: Head, recipe: Recipe) -> bool:
    """Whether a thumbnail was made with these settings; of one that another program made only the height is known."""
    made = (head.mark.quality, head.mark.method) if head.mark is not None else (recipe.quality, recipe.method)
    return (head.height_px, *made) == (recipe.height_px, recipe.quality, recipe.method)


def _has_todays_settings(head: Head | None, rules: Rules) -> bool:
    if head is None:
        return rules.same_settings
    return same_settings(head, rules.recipe) and (head.mark is not None or rules.same_settings)


def is_fresh(source: Stamp, thumbnail: Stamp | None, rules: Rules, head: Head | None = None) -> bool:
    """Whether the thumbnail shows its source as it is now, made with today's settings.

    Equality of times, not "newer than": an older file copied over a newer one is a change too.

    Args:
        source, thumbnail: their stamps.
        rules: what can be trusted.
        head: the beginning of the thumbnail, where it was read.
    """
    if thumbnail is None or thumbnail.size == 0:
        return False
    if not _has_todays_settings(head, rules):
        return False
    mark = head.mark if head is not None else None
    if mark is not None and mark.source != source:
        return False
    if not rules.by_times:
        return mark is not None
    return abs(thumbnail.version - source.version) <= rules.tolerance_ns


def all_exact(sources: Mapping[str, Stamp], thumbnails: Mapping[str, Stamp]) -> bool:
    """Whether every image has a thumbnail that carries exactly its time, and there is nothing besides: then, made with
    today's settings, the directory needs nothing, whatever else is known. What nearly all looks find, in one pass.

    Keys in ``.png`` alone: only their thumbnails are certain to be theirs. A key that holds ``.png`` twice is refused
    here too, and left to the plan.
    """
    if len(sources) != len(thumbnails):
        return False
    expected = {key.replace(SOURCE_SUFFIX, THUMBNAIL_SUFFIX): stamp[0] for key, stamp in sources.items()}
    return expected == {key: stamp[0] if stamp[1] else None for key, stamp in thumbnails.items()}


def tells_images_apart(stamp: Stamp) -> bool:
    """Whether a time is fine enough to belong to one image: not in whole seconds, as archives and FAT make them."""
    return stamp.version % _SECOND_NS != 0


def ambiguous_by_time(sources: Mapping[str, Stamp]) -> list[str]:
    """The images whose time does not tell which image it is, in the order of their keys: it is in whole seconds, or
    another image of the directory has the same."""
    different = set(map(itemgetter(0), sources.values()))
    if len(different) == len(sources) and all(map(_SECOND_NS.__rmod__, different)):  # nearly always
        return []
    times = Counter(stamp[0] for stamp in sources.values())
    common = {time_ns for time_ns, count in times.items() if count > 1 or time_ns % _SECOND_NS == 0}
    return [key for key in sorted(sources) if sources[key][0] in common]


# -- plans


def _still_holds(failure: Failure | None, source: Stamp, rules: Rules) -> bool:
    return failure is not None and failure.stamp == source and failure.version == rules.version


def plan_image(
    key: str,
    source: Stamp,
    thumbnail: Stamp | None,
    *,
    rules: Rules,
    head: Head | None = None,
    failure: Failure | None = None,
    mismatched: bool = False,
) -> tuple[Action, ...]:
    """What one image needs, in this order; empty where it needs nothing.

    Args:
        key: the image's key.
        source: its stamp.
        thumbnail: its thumbnail's stamp; None where it is missing.
        rules: what can be trusted.
        head: the beginning of the thumbnail, where it was read.
        failure: what is known of an earlier failure.
        mismatched: whether the thumbnail's contents are known to be another image's.
    """
    if not mismatched and is_fresh(source, thumbnail, rules, head):
        return ()
    name_was_taken = failure is not None and failure.kind == NameTakenError.__name__  # but is free again
    if _still_holds(failure, source, rules) and not name_was_taken:
        # A thumbnail of what the file showed before it broke is a wrong thumbnail.
        return (Action(thumbnail_key(key), ActionKind.DELETE, Reason.UNSHOWABLE, source),) if thumbnail else ()
    if thumbnail is None:
        return (Action(key, ActionKind.BUILD, Reason.MISSING, source),)
    if thumbnail.size == 0:
        return (Action(key, ActionKind.BUILD, Reason.EMPTY, source),)
    if not mismatched and _can_be_adopted(source, thumbnail, rules, head):
        return (Action(key, ActionKind.ADOPT, Reason.FOREIGN, source),)
    if mismatched or _shows_another_image_of_its_time(source, thumbnail, rules, head):
        # Until the right one is made, none is better than one of another image.
        return (
            Action(thumbnail_key(key), ActionKind.DELETE, Reason.MISMATCHED, source),
            Action(key, ActionKind.BUILD, Reason.MISMATCHED, source),
        )
    reason = Reason.STALE if _has_todays_settings(head, rules) else Reason.SETTINGS
    return (Action(key, ActionKind.BUILD, reason, source),)


def _shows_another_image_of_its_time(source: Stamp, thumbnail: Stamp, rules: Rules, head: Head | None) -> bool:
    if head is None or head.mark is None or not rules.by_times:
        return False
    return thumbnail.version == source.version == head.mark.source.version and head.mark.source != source


def _can_be_adopted(source: Stamp, thumbnail: Stamp, rules: Rules, head: Head | None) -> bool:
    """Whether a thumbnail that another program made, or that lost its time, shows its source all the same: it is whole
    (a crash leaves half a file) and newer, and if it is ours, it says that it was made from this image."""
    if not (rules.adopting and rules.by_times and rules.same_settings):
        return False
    if head is None or thumbnail.size < head.file_bytes:
        return False
    if head.mark is not None and (head.mark.source != source or not same_settings(head, rules.recipe)):
        return False
    return thumbnail.version > source.version


def plan_directory(
    sources: Mapping[str, Stamp],
    thumbnails: Mapping[str, Stamp],
    *,
    rules: Rules,
    heads: Mapping[str, Head] | None = None,
    failures: Mapping[str, Failure] | None = None,
    mismatched: Collection[str] = (),
    lost: Mapping[str, str] | None = None,
    temporaries: Iterable[str] = (),
) -> tuple[Action, ...]:
    """What one directory needs, deletes of orphans last, otherwise in the order of the keys.

    Args:
        sources: key to stamp of every image in the directory.
        thumbnails: key to stamp of every thumbnail in the same directory of the target.
        rules: what can be trusted.
        heads: thumbnail's key to its beginning, where it was read.
        failures: what is known of earlier failures, by key.
        mismatched: keys of images whose thumbnails are known to show another image.
        lost: image's key to the thumbnail that was made from it under another name and lost its source.
        temporaries: keys of unfinished files found in the target.
    """
    heads, failures, lost = heads or {}, failures or {}, lost or {}
    owner: dict[str, str] = {}
    for key in sorted(sources, key=_rank):
        owner.setdefault(thumbnail_key(key), key)
    actions: list[Action] = []
    for key in sorted(sources):
        thumbnail, source = thumbnail_key(key), sources[key]
        if owner[thumbnail] != key:
            if not _still_holds(failures.get(key), source, rules):
                actions.append(Action(key, ActionKind.REFUSE, Reason.NAME_TAKEN, source))
            continue
        needed = plan_image(
            key,
            source,
            thumbnails.get(thumbnail),
            rules=rules,
            head=heads.get(thumbnail),
            failure=failures.get(key),
            mismatched=key in mismatched,
        )
        if key in lost and [action.reason for action in needed] == [Reason.MISSING]:
            needed = (Action(key, ActionKind.RENAME, Reason.RENAMED, source, lost[key]),)
        actions += needed
    actions += [Action(key, ActionKind.SWEEP, Reason.LEFT_OVER) for key in sorted(temporaries)]
    followed = set(lost.values())
    actions += [
        Action(key, ActionKind.DELETE, Reason.ORPHAN)
        for key in sorted(thumbnails)
        if key not in owner and key not in followed
    ]
    return tuple(actions)


def holds_back(orphans: int, thumbnails: int, *, count: int = 100, fraction: float = 0.2) -> bool:
    """Whether so many thumbnails would be deleted that a person should decide.

    Args:
        orphans: how many would be deleted.
        thumbnails: how many there are in all.
        count, fraction: both limits must be passed (DESIGN: more than 100 and a fifth of all).
    """
    return orphans > count and orphans > thumbnails * fraction
