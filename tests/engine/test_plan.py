"""The decision, as properties."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sdgen_thumbnail_plugin.engine.plan import (
    Rules,
    all_exact,
    ambiguous_by_time,
    holds_back,
    is_fresh,
    plan_directory,
    plan_image,
    rivals,
    thumbnail_key,
)
from sdgen_thumbnail_plugin.imaging.webp import Head, Mark
from sdgen_thumbnail_plugin.model import ActionKind, Failure, Reason, Recipe, Stamp

RECIPE = Recipe()
RULES = Rules(RECIPE, version="1")
SOURCE = Stamp(1_000_000_000_000_000_000, 1000)

stems = st.sampled_from(["a", "b", "c", "d"])
stamps = st.builds(Stamp, st.integers(0, 5), st.integers(0, 2))
sources_of = st.dictionaries(st.builds("s/{}{}".format, stems, st.sampled_from([".png", ".PNG", ".Png"])), stamps)
thumbnails_of = st.dictionaries(st.builds("s/{}.webp".format, stems), stamps)
rules_of = st.builds(
    Rules,
    recipe=st.just(RECIPE),
    version=st.just("1"),
    tolerance_ns=st.integers(0, 1),
    adopting=st.booleans(),
    same_settings=st.booleans(),
)
heads_of = st.dictionaries(
    st.builds("s/{}.webp".format, stems),
    st.builds(
        Head,
        height_px=st.sampled_from([RECIPE.height_px, 100]),
        file_bytes=st.integers(0, 3),
        mark=st.none() | st.builds(Mark, stamps, st.just(0), st.just(RECIPE.quality), st.sampled_from([6, 0])),
    ),
)


def head_of(source: Stamp, recipe: Recipe = RECIPE) -> Head:
    return Head(recipe.height_px, 1, Mark(source, 0, recipe.quality, recipe.method))


def failure_of(key: str, stamp: Stamp, version: str = "1") -> Failure:
    return Failure(key, stamp, "DamagedImageError", "is damaged", "", version, 0.0)


@st.composite
def failures_of(draw: st.DrawFn, sources: dict[str, Stamp]) -> dict[str, Failure]:
    keys = draw(st.sets(st.sampled_from(sorted(sources)))) if sources else set()
    return {key: failure_of(key, draw(st.just(sources[key]) | stamps), draw(st.sampled_from("12"))) for key in keys}


@given(st.data(), sources_of, thumbnails_of, heads_of, rules_of, st.sets(st.sampled_from(["s/.1-0.sdgen-tmp"])))
def test_after_a_plan_was_applied_there_is_nothing_left_to_plan(
    data: st.DataObject,
    sources: dict[str, Stamp],
    thumbnails: dict[str, Stamp],
    heads: dict[str, Head],
    rules: Rules,
    temporaries: set[str],
) -> None:
    failures = data.draw(failures_of(sources))
    mismatched = data.draw(st.sets(st.sampled_from(sorted(sources)))) if sources else set()
    heads = {key: head for key, head in heads.items() if key in thumbnails}
    plan = plan_directory(
        sources, thumbnails, rules=rules, heads=heads, failures=failures, mismatched=mismatched, temporaries=temporaries
    )
    for action in plan:
        if action.kind is ActionKind.BUILD:
            thumbnail = thumbnail_key(action.key)
            if data.draw(st.booleans()):
                thumbnails[thumbnail] = Stamp(sources[action.key].version, 1)
                heads[thumbnail] = head_of(sources[action.key])
                failures.pop(action.key, None)
            else:
                failures[action.key] = failure_of(action.key, sources[action.key])
                thumbnails.pop(thumbnail, None)
                heads.pop(thumbnail, None)
        elif action.kind is ActionKind.ADOPT:
            thumbnail = thumbnail_key(action.key)
            thumbnails[thumbnail] = thumbnails[thumbnail]._replace(version=sources[action.key].version)
            heads.pop(thumbnail)  # whatever height another program gave it
        elif action.kind is ActionKind.REFUSE:
            failures[action.key] = failure_of(action.key, sources[action.key])
        elif action.kind is ActionKind.DELETE:
            del thumbnails[action.key]
            heads.pop(action.key, None)
        else:
            temporaries.remove(action.key)
    settled = replace(rules, adopting=False, same_settings=True)
    assert (
        plan_directory(sources, thumbnails, rules=settled, heads=heads, failures=failures, temporaries=temporaries)
        == ()
    )


@given(st.data(), sources_of, st.booleans(), rules_of)
def test_where_all_is_exact_there_is_nothing_to_plan(
    data: st.DataObject, sources: dict[str, Stamp], mirrored: bool, rules: Rules
) -> None:
    thumbnails = data.draw(thumbnails_of)
    if mirrored:  # else the two hardly ever agree
        thumbnails = {thumbnail_key(key): Stamp(stamp.version, 1) for key, stamp in sources.items()}
    exact = all_exact(sources, thumbnails)
    lower_case = all(key.endswith(".png") for key in sources)
    assert exact or not (mirrored and lower_case)
    if exact:
        settled = replace(rules, same_settings=True)
        failures = data.draw(failures_of(sources))
        assert plan_directory(sources, thumbnails, failures=failures, rules=settled) == ()


@given(st.data(), sources_of, thumbnails_of, rules_of)
def test_the_order_of_the_inputs_does_not_matter(
    data: st.DataObject, sources: dict[str, Stamp], thumbnails: dict[str, Stamp], rules: Rules
) -> None:
    failures = data.draw(failures_of(sources))
    shuffler = random.Random(data.draw(st.integers()))

    def shuffled(mapping: dict[str, Stamp]) -> dict[str, Stamp]:
        items = list(mapping.items())
        shuffler.shuffle(items)
        return dict(items)

    plan = plan_directory(sources, thumbnails, failures=failures, rules=rules)
    assert plan_directory(shuffled(sources), shuffled(thumbnails), failures=failures, rules=rules) == plan


@given(st.data(), sources_of, thumbnails_of, rules_of)
def test_no_action_names_a_path_outside_the_directory(
    data: st.DataObject, sources: dict[str, Stamp], thumbnails: dict[str, Stamp], rules: Rules
) -> None:
    for action in plan_directory(sources, thumbnails, failures=data.draw(failures_of(sources)), rules=rules):
        assert action.key.startswith("s/")
        assert ".." not in action.key
        assert action.key in {**sources, **thumbnails}


def needed(source: Stamp, thumbnail: Stamp | None, **options: Any) -> list[tuple[str, ActionKind, Reason]]:
    """What the image ``s/a.png`` needs."""
    options = {"rules": RULES, **options}
    return [(action.key, action.kind, action.reason) for action in plan_image("s/a.png", source, thumbnail, **options)]


def built(reason: Reason) -> list[tuple[str, ActionKind, Reason]]:
    return [("s/a.png", ActionKind.BUILD, reason)]


THUMBNAIL = Stamp(SOURCE.version, 1)
ADOPTED = [("s/a.png", ActionKind.ADOPT, Reason.FOREIGN)]
REPLACED = [
    ("s/a.webp", ActionKind.DELETE, Reason.MISMATCHED),
    ("s/a.png", ActionKind.BUILD, Reason.MISMATCHED),
]


def test_an_image_without_a_thumbnail_gets_one() -> None:
    assert needed(SOURCE, None) == built(Reason.MISSING)


def test_fresh_is_equal_not_newer() -> None:
    assert is_fresh(SOURCE, THUMBNAIL, RULES)
    for other in (-1, 1):
        assert not is_fresh(SOURCE, Stamp(SOURCE.version + other, 1), RULES)


def test_where_times_cannot_be_set_the_mark_says_what_a_thumbnail_shows() -> None:
    rules = replace(RULES, by_times=False)
    thumbnail = Stamp(7, 1)
    assert needed(SOURCE, thumbnail, rules=rules, head=head_of(SOURCE)) == []
    assert needed(SOURCE, thumbnail, rules=rules, head=head_of(Stamp(1, 1000))) == built(Reason.STALE)
    assert needed(SOURCE, thumbnail, rules=rules) == built(Reason.STALE)
    assert needed(SOURCE, thumbnail, rules=rules, head=Head(240, 1, None)) == built(Reason.STALE)


def test_an_empty_thumbnail_is_none() -> None:
    assert needed(SOURCE, Stamp(SOURCE.version, 0)) == built(Reason.EMPTY)


def test_another_programs_newer_thumbnail_is_adopted_at_first_sight_only() -> None:
    newer, head = Stamp(SOURCE.version + 10**9, 5), Head(256, 5, None)
    first = replace(RULES, adopting=True)
    assert needed(SOURCE, newer, rules=first, head=head) == ADOPTED
    assert needed(SOURCE, newer) == built(Reason.STALE)
    assert needed(SOURCE, newer, rules=first) == built(Reason.STALE), "it cannot be read"
    assert needed(SOURCE, newer._replace(size=4), rules=first, head=head)[0][1] is ActionKind.BUILD, "half a file"


def test_another_programs_older_thumbnail_is_stale() -> None:
    older = Stamp(SOURCE.version - 10**9, 5)
    assert needed(SOURCE, older, rules=replace(RULES, adopting=True), head=Head(240, 5, None)) == built(Reason.STALE)


def test_a_thumbnail_of_ours_that_lost_its_time_is_adopted_if_it_was_made_from_this_image() -> None:
    newer, first = Stamp(SOURCE.version + 10**9, 5), replace(RULES, adopting=True)
    assert needed(SOURCE, newer, rules=first, head=head_of(SOURCE)) == ADOPTED
    assert needed(SOURCE, newer, rules=first, head=head_of(Stamp(1, 1))) == built(Reason.STALE)
    other = head_of(SOURCE, Recipe(quality=30))
    assert needed(SOURCE, newer, rules=first, head=other) == built(Reason.SETTINGS)


def test_changed_settings_make_all_stale_but_what_says_that_it_has_them() -> None:
    rules = replace(RULES, same_settings=False)
    assert needed(SOURCE, THUMBNAIL, rules=rules) == built(Reason.SETTINGS)
    assert needed(SOURCE, THUMBNAIL, rules=rules, head=head_of(SOURCE, Recipe(quality=30))) == built(Reason.SETTINGS)
    assert needed(SOURCE, THUMBNAIL, rules=rules, head=Head(240, 1, None)) == built(Reason.SETTINGS)
    assert needed(SOURCE, THUMBNAIL, rules=rules, head=head_of(SOURCE)) == []


def test_the_same_bytes_are_not_tried_again_but_changed_ones_and_by_a_new_version() -> None:
    failure = failure_of("s/a.png", SOURCE)
    assert needed(SOURCE, None, failure=failure) == []
    assert needed(Stamp(SOURCE.version + 1, 1000), None, failure=failure)
    assert needed(SOURCE, None, failure=failure, rules=replace(RULES, version="2"))


def test_a_thumbnail_of_what_a_broken_file_showed_before_goes() -> None:
    found = needed(SOURCE, Stamp(1, 1), failure=failure_of("s/a.png", SOURCE))
    assert found == [("s/a.webp", ActionKind.DELETE, Reason.UNSHOWABLE)]


def test_a_thumbnail_of_another_image_of_the_same_time_goes_before_the_right_one_is_made() -> None:
    assert needed(SOURCE, THUMBNAIL, head=head_of(Stamp(SOURCE.version, 7))) == REPLACED
    assert needed(SOURCE, THUMBNAIL, head=head_of(SOURCE), mismatched=True) == REPLACED


def test_of_two_names_that_differ_in_case_the_lower_one_has_the_thumbnail() -> None:
    actions = plan_directory({"s/a.PNG": SOURCE, "s/a.png": SOURCE}, {}, rules=RULES)
    assert [(action.key, action.kind) for action in actions] == [
        ("s/a.PNG", ActionKind.REFUSE),
        ("s/a.png", ActionKind.BUILD),
    ]
    assert rivals("s/a.PNG")[0] == "s/a.png"


def test_a_thumbnail_that_lost_its_source_follows_the_image_it_was_made_from() -> None:
    (action,) = plan_directory(
        {"s/new.png": SOURCE}, {"s/old.webp": THUMBNAIL}, rules=RULES, lost={"s/new.png": "s/old.webp"}
    )
    assert (action.key, action.kind, action.old) == ("s/new.png", ActionKind.RENAME, "s/old.webp")


def test_deletes_of_orphans_come_last() -> None:
    actions = plan_directory({"s/z.png": SOURCE}, {"s/a.webp": Stamp(1, 1)}, rules=RULES)
    assert [action.kind for action in actions] == [ActionKind.BUILD, ActionKind.DELETE]


def test_deletes_are_held_back_beyond_a_hundred_and_a_fifth() -> None:
    assert holds_back(101, 200)
    assert not holds_back(100, 200)
    assert not holds_back(101, 1000)


@given(st.dictionaries(st.integers(0, 9), st.sampled_from([0, 1, 2, 10**9, 10**9 + 1, 2 * 10**9])))
def test_a_time_tells_an_image_unless_it_is_in_whole_seconds_or_anothers_too(times: dict[int, int]) -> None:
    sources = {f"s/{number}.png": Stamp(time_ns, 7) for number, time_ns in times.items()}
    clear = {key for key, stamp in sources.items() if stamp.version % 10**9}
    clear = {key for key in clear if [stamp.version for stamp in sources.values()].count(sources[key].version) == 1}
    assert ambiguous_by_time(sources) == sorted(sources.keys() - clear)
