"""The decision, as properties."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sdgen_thumbnail_plugin.engine.plan import (
    Rules,
    all_exact,
    holds_back,
    is_fresh,
    plan_directory,
    plan_image,
    rivals,
    thumbnail_key,
    untold_by_times,
)
from sdgen_thumbnail_plugin.model import ActionKind, Failure, Reason, Stamp

RULES = Rules(version="1")
SOURCE = Stamp(1_000_000_000_000_000_000, 1000)

stems = st.sampled_from(["a", "b", "c", "d"])
stamps = st.builds(Stamp, st.integers(0, 5), st.integers(0, 2))
sources_of = st.dictionaries(st.builds("s/{}{}".format, stems, st.sampled_from([".png", ".PNG", ".Png"])), stamps)
thumbnails_of = st.dictionaries(st.builds("s/{}.webp".format, stems), stamps)
rules_of = st.builds(
    Rules,
    keeps_times=st.just(True),
    tolerance_ns=st.integers(0, 1),
    version=st.just("1"),
    adopting=st.booleans(),
    same_recipe=st.booleans(),
)


def failure_of(key: str, stamp: Stamp, version: str = "1") -> Failure:
    return Failure(key, stamp, "DamagedImageError", "is damaged", "", version, 0.0)


@st.composite
def failures_of(draw: st.DrawFn, sources: dict[str, Stamp]) -> dict[str, Failure]:
    keys = draw(st.sets(st.sampled_from(sorted(sources)))) if sources else set()
    return {key: failure_of(key, draw(st.just(sources[key]) | stamps), draw(st.sampled_from("12"))) for key in keys}


@given(st.data(), sources_of, thumbnails_of, rules_of, st.sets(st.sampled_from(["s/.1-0.sdgen-tmp"])))
def test_after_a_plan_was_carried_out_there_is_nothing_left_to_plan(
    data: st.DataObject,
    sources: dict[str, Stamp],
    thumbnails: dict[str, Stamp],
    rules: Rules,
    temporaries: set[str],
) -> None:
    failures = data.draw(failures_of(sources))
    for action in plan_directory(sources, thumbnails, failures, rules=rules, temporaries=temporaries):
        if action.kind is ActionKind.BUILD:
            if data.draw(st.booleans()):
                thumbnails[thumbnail_key(action.key)] = Stamp(sources[action.key].mtime_ns, 1)
                failures.pop(action.key, None)
            else:
                failures[action.key] = failure_of(action.key, sources[action.key])
                thumbnails.pop(thumbnail_key(action.key), None)
        elif action.kind is ActionKind.ADOPT:
            wanted = thumbnail_key(action.key)
            thumbnails[wanted] = thumbnails[wanted]._replace(mtime_ns=sources[action.key].mtime_ns)
        elif action.kind is ActionKind.REFUSE:
            failures[action.key] = failure_of(action.key, sources[action.key])
        elif action.kind is ActionKind.DELETE:
            del thumbnails[action.key]
        else:
            temporaries.remove(action.key)
    settled = replace(rules, adopting=False, same_recipe=True)
    assert plan_directory(sources, thumbnails, failures, rules=settled, temporaries=temporaries) == ()


@given(st.data(), sources_of, st.booleans(), rules_of)
def test_where_all_is_exact_there_is_nothing_to_plan(
    data: st.DataObject, sources: dict[str, Stamp], mirrored: bool, rules: Rules
) -> None:
    thumbnails = data.draw(thumbnails_of)
    if mirrored:  # else the two hardly ever agree
        thumbnails = {thumbnail_key(key): Stamp(stamp.mtime_ns, 1) for key, stamp in sources.items()}
    exact = all_exact(sources, thumbnails)
    lower_case = all(key.endswith(".png") for key in sources)
    assert exact or not (mirrored and lower_case)
    if exact:
        settled = replace(rules, same_recipe=True)
        assert plan_directory(sources, thumbnails, data.draw(failures_of(sources)), rules=settled) == ()


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

    plan = plan_directory(sources, thumbnails, failures, rules=rules)
    assert plan_directory(shuffled(sources), shuffled(thumbnails), failures, rules=rules) == plan


@given(st.data(), sources_of, thumbnails_of, rules_of)
def test_no_action_names_a_path_outside_the_directory(
    data: st.DataObject, sources: dict[str, Stamp], thumbnails: dict[str, Stamp], rules: Rules
) -> None:
    for action in plan_directory(sources, thumbnails, data.draw(failures_of(sources)), rules=rules):
        assert action.key.startswith("s/")
        assert ".." not in action.key
        assert action.key in {**sources, **thumbnails}


def test_an_image_without_a_thumbnail_gets_one() -> None:
    action = plan_image("s/a.png", SOURCE, None, rules=RULES)
    assert action is not None
    assert (action.kind, action.reason) == (ActionKind.BUILD, Reason.MISSING)


def test_fresh_is_equal_not_newer() -> None:
    assert is_fresh(SOURCE, Stamp(SOURCE.mtime_ns, 1), RULES)
    for other in (-1, 1):
        assert not is_fresh(SOURCE, Stamp(SOURCE.mtime_ns + other, 1), RULES)


def test_where_times_cannot_be_set_a_thumbnail_must_be_later() -> None:
    rules = replace(RULES, keeps_times=False)
    assert is_fresh(SOURCE, Stamp(SOURCE.mtime_ns + 1, 1), rules)
    assert not is_fresh(SOURCE, Stamp(SOURCE.mtime_ns, 1), rules)


def test_an_empty_thumbnail_is_none() -> None:
    action = plan_image("s/a.png", SOURCE, Stamp(SOURCE.mtime_ns, 0), rules=RULES)
    assert action is not None
    assert action.reason is Reason.EMPTY


def test_another_programs_newer_thumbnail_is_adopted_at_first_sight_only() -> None:
    newer = Stamp(SOURCE.mtime_ns + 10**9, 1)
    first = plan_image("s/a.png", SOURCE, newer, rules=replace(RULES, adopting=True))
    later = plan_image("s/a.png", SOURCE, newer, rules=RULES)
    assert first is not None
    assert later is not None
    assert (first.kind, later.kind) == (ActionKind.ADOPT, ActionKind.BUILD)


def test_another_programs_older_thumbnail_is_stale() -> None:
    older = Stamp(SOURCE.mtime_ns - 10**9, 1)
    action = plan_image("s/a.png", SOURCE, older, rules=replace(RULES, adopting=True))
    assert action is not None
    assert action.kind is ActionKind.BUILD


def test_changed_settings_make_all_stale_but_what_was_remade() -> None:
    sources = {"s/a.png": SOURCE, "s/b.png": SOURCE}
    thumbnails = {thumbnail_key(key): Stamp(SOURCE.mtime_ns, 1) for key in sources}
    rules = replace(RULES, same_recipe=False)
    assert len(plan_directory(sources, thumbnails, {}, rules=rules)) == 2
    (action,) = plan_directory(sources, thumbnails, {}, rules=rules, remade={"s/a.png"})
    assert (action.key, action.reason) == ("s/b.png", Reason.RECIPE)


def test_the_same_bytes_are_not_tried_again_but_changed_ones_and_by_a_new_version() -> None:
    failure = failure_of("s/a.png", SOURCE)
    assert plan_image("s/a.png", SOURCE, None, failure=failure, rules=RULES) is None
    assert plan_image("s/a.png", Stamp(SOURCE.mtime_ns + 1, 1000), None, failure=failure, rules=RULES)
    assert plan_image("s/a.png", SOURCE, None, failure=failure, rules=replace(RULES, version="2"))


def test_a_thumbnail_of_what_a_broken_file_showed_before_goes() -> None:
    failure = failure_of("s/a.png", SOURCE)
    action = plan_image("s/a.png", SOURCE, Stamp(1, 1), failure=failure, rules=RULES)
    assert action is not None
    assert (action.kind, action.reason, action.key) == (ActionKind.DELETE, Reason.UNSHOWABLE, "s/a.webp")


def test_of_two_names_that_differ_in_case_the_lower_one_has_the_thumbnail() -> None:
    actions = plan_directory({"s/a.PNG": SOURCE, "s/a.png": SOURCE}, {}, {}, rules=RULES)
    assert [(action.key, action.kind) for action in actions] == [
        ("s/a.PNG", ActionKind.REFUSE),
        ("s/a.png", ActionKind.BUILD),
    ]
    assert rivals("s/a.PNG")[0] == "s/a.png"


def test_deletes_come_last() -> None:
    actions = plan_directory({"s/z.png": SOURCE}, {"s/a.webp": Stamp(1, 1)}, {}, rules=RULES)
    assert [action.kind for action in actions] == [ActionKind.BUILD, ActionKind.DELETE]


def test_deletes_are_held_back_beyond_a_hundred_and_a_fifth() -> None:
    assert holds_back(101, 200)
    assert not holds_back(100, 200)
    assert not holds_back(101, 1000)


@given(st.dictionaries(st.integers(0, 9), st.sampled_from([0, 1, 2, 10**9, 10**9 + 1, 2 * 10**9])))
def test_a_time_tells_an_image_unless_it_is_in_whole_seconds_or_anothers_too(times: dict[int, int]) -> None:
    sources = {f"s/{number}.png": Stamp(time_ns, 7) for number, time_ns in times.items()}
    told = {key for key, stamp in sources.items() if stamp.mtime_ns % 10**9}
    told = {key for key in told if [stamp.mtime_ns for stamp in sources.values()].count(sources[key].mtime_ns) == 1}
    assert untold_by_times(sources) == sorted(sources.keys() - told)


def test_a_thumbnail_that_is_known_to_be_another_images_is_made_anew() -> None:
    sources = {"s/a.png": SOURCE, "s/b.png": SOURCE}
    thumbnails = {thumbnail_key(key): Stamp(SOURCE.mtime_ns, 9) for key in sources}
    assert plan_directory(sources, thumbnails, {}, rules=RULES) == ()
    (action,) = plan_directory(sources, thumbnails, {}, rules=RULES, mistaken={"s/b.png"})
    assert (action.key, action.kind, action.reason) == ("s/b.png", ActionKind.BUILD, Reason.MISTAKEN)
