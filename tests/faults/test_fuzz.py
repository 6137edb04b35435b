"""Random files: mutated PNGs for the imaging, any bytes for the configuration. The imaging runs in separate processes
with limits on memory and time, so that a crash, a hang and a bomb all show.

    python tests/faults/test_fuzz.py IMAGES [SEED]

tries a number of other mutants. ``SDGEN_FAULT_SEED`` is the default seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from sdgen_thumbnail_plugin.config_file import CONFIG_NAME
from sdgen_thumbnail_plugin.errors import SettingsError
from sdgen_thumbnail_plugin.paths import FAST_VARIABLE
from sdgen_thumbnail_plugin.settings import Settings, check_roots, load_settings
from support.pictures import (
    ADAM7,
    CHANNELS,
    SIGNATURE,
    as_png,
    chunk,
    chunks_of,
    exif_with_orientation,
    grey_profile,
    header_chunk,
    iccp_chunk,
    joined,
    photo,
    png_of,
    rgb_profile,
    with_chunks,
)

MAX_PIXELS = 1_000_000
LARGEST_SIDE_PX = 4000  # enough pixels that their memory outweighs everything else
PEAK_BYTES = 14
"""The most memory for a pixel of any kind of picture (``thumbnail.peak_pixels``)."""
SPARE_BYTES = 24 * 2**20
"""Memory for one thumbnail of the largest size and its encoder."""
HANG_S = 10.0
IMAGES_A_BATCH = 40

# Reads images as a length and so many bytes each, and answers one line for each, at once: after a crash the number of
# lines tells which image it was. The first gets no answer: it makes the libraries load before memory is measured.
_CHILD = textwrap.dedent("""
    import resource, struct, sys, time
    from PIL import ImageCms
    from sdgen_thumbnail_plugin.errors import ImageError, OutOfMemoryError
    from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
    from sdgen_thumbnail_plugin.model import Recipe
    from sdgen_thumbnail_plugin.imaging.webp import read_size

    max_pixels, allowed_bytes = map(int, sys.argv[1:3])
    recipe = Recipe(height_px=32, method=0)
    read = sys.stdin.buffer.read
    make_thumbnail(read(struct.unpack(">I", read(4))[0]), recipe)
    used_bytes = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + allowed_bytes,) * 2)
    exec(sys.argv[3])
    while head := read(4):
        png = read(struct.unpack(">I", head)[0])
        started_s = time.monotonic()
        try:
            webp = make_thumbnail(png, recipe, max_pixels=max_pixels)
            size = read_size(webp[:30])
            answer = "shown" if size is not None and size[1] == 32 else f"wrong size {size}"
        except ImageError as error:
            known = error.message == " ".join(error.message.split()) and error.remedy and len(error.message) < 300
            known = known and error.message.isprintable()
            answer = f"refused {type(error).__name__}" if known else f"says {error.message!r}"
        except OutOfMemoryError:
            answer = "took more memory than it may"
        except BaseException as error:
            answer = f"raised {type(error).__name__}: {error}"
        print(f"{time.monotonic() - started_s:.2f} {answer}", flush=True)
""")


def answers_to(
    images: list[bytes], *, max_pixels: int = MAX_PIXELS, hang_s: float = HANG_S, sabotage: str = ""
) -> list[str]:
    """The answer of the imaging to each image, in a process that may use no more memory than the largest image needs.

    Fails if the process crashes, or thinks longer about one image than it may.

    Args:
        sabotage: code that the process runs before the first image, for the test of these tests.
    """
    given_bytes = b"".join(struct.pack(">I", len(image)) + image for image in (as_png(photo(24, 20)), *images))
    allowed_bytes = max_pixels * PEAK_BYTES + SPARE_BYTES + max(map(len, images))
    command = [sys.executable, "-c", _CHILD, str(max_pixels), str(allowed_bytes), sabotage]
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1", "MALLOC_ARENA_MAX": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        out, errors = process.communicate(given_bytes, timeout=hang_s + 0.5 * len(images))
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        done = len(out.splitlines())
        raise AssertionError(f"hangs at {images[done]!r}") from None
    lines = out.decode("utf-8").splitlines()
    assert process.returncode == 0, (
        f"ends with {process.returncode} at {images[min(len(lines), len(images) - 1)]!r}", errors[-2000:],
    )  # fmt: skip
    assert len(lines) == len(images)
    for line, image in zip(lines, images, strict=True):
        seconds, _, answer = line.partition(" ")
        assert float(seconds) < hang_s, f"thinks for {seconds} s about {image!r}"
        assert answer == "shown" or answer.startswith("refused "), (line, image)
    return [line.partition(" ")[2] for line in lines]


# -- mutated PNGs


def seeds() -> list[bytes]:
    """Small PNGs of each kind, with every chunk that we read."""
    picture = photo(24, 20)
    rgb = picture.tobytes()
    colour_types = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)]
    channels = {0: 1, 2: 3, 4: 2, 6: 4}
    found = []
    for colour_type, depth in colour_types:
        top = (1 << depth) - 1
        for interlaced in (False, True):
            found.append(
                png_of(
                    24, 20, depth, colour_type,
                    lambda x, y, n=channels[colour_type], top=top: [rgb[(y * 24 + x) * 3] * top // 255] * n,  # type: ignore[misc]
                    interlaced=interlaced, idat_bytes=40,
                    transparency=bytes(2 * channels[colour_type]) if colour_type in (0, 2) else None,
                )
            )  # fmt: skip
    extras = (
        iccp_chunk(rgb_profile()), chunk(b"eXIf", exif_with_orientation(6)), chunk(b"tEXt", b"parameters\0x"),
        chunk(b"zTXt", b"p\0\0" + zlib.compress(bytes(999))), chunk(b"gAMA", struct.pack(">I", 45455)),
    )  # fmt: skip
    rich = with_chunks(as_png(picture), *extras)
    grey = with_chunks(as_png(picture.convert("L")), iccp_chunk(grey_profile(1.8)))
    animated = as_png(picture, save_all=True, append_images=[Image.new("RGB", (24, 20))], duration=9)
    palette = as_png(picture.quantize(16), transparency=b"\x00\x80")
    return [*found, rich, grey, animated, palette]


SEEDS = seeds()

_KINDS = st.sampled_from(
    [
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"tRNS",
        b"iCCP",
        b"eXIf",
        b"acTL",
        b"fdAT",
        b"zTXt",
        b"ZZZZ",
        b"zzzz",
        b"\0\0\0\0",
    ]
)
_SIDES = st.one_of(
    st.integers(0, 40), st.sampled_from([999, 1000, 1001, 16_384, 65_535, 4_000_000, 2**31 - 1, 2**31, 2**32 - 1])
)


@st.composite
def mutated_pngs(draw: st.DrawFn) -> bytes:
    """A PNG after a few changes: to its bytes, or to its chunks with corrected checksums."""
    png = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        png = draw(_CHANGES)(png, draw)
    return png


def _with_bytes_changed(png: bytes, draw: st.DrawFn) -> bytes:
    changed = bytearray(png)
    for _ in range(draw(st.integers(1, 5))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def _cut(png: bytes, draw: st.DrawFn) -> bytes:
    return png[: draw(st.integers(0, len(png)))]


def _with_another_header(png: bytes, draw: st.DrawFn) -> bytes:
    header = header_chunk(
        draw(_SIDES),
        draw(_SIDES),
        draw(st.sampled_from([1, 2, 4, 8, 16, 3])),
        draw(st.integers(0, 7)),
        draw(st.booleans()),
    )
    return SIGNATURE + header + png[33:]


def _with_chunks_changed(png: bytes, draw: st.DrawFn) -> bytes:
    """Keeps the checksums right, so that the change reaches the decoders."""
    try:
        chunks = chunks_of(png)
    except (struct.error, IndexError):
        return png
    at = draw(st.integers(0, max(0, len(chunks) - 1)))
    if not chunks or len(chunks[at][1]) > 100_000:
        return png
    kind, data = chunks[at]
    what = draw(
        st.sampled_from(["bytes", "drop", "double", "kind", "empty", "longer", "swap", "pixels", "profile", "exif"])
    )
    if what == "bytes" and data:
        changed = bytearray(data)
        changed[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        chunks[at] = kind, bytes(changed)
    elif what == "drop":
        del chunks[at]
    elif what == "double":
        chunks.insert(at, chunks[at])
    elif what == "kind":
        chunks[at] = draw(_KINDS), data
    elif what == "empty":
        chunks[at] = kind, b""
    elif what == "longer":
        chunks[at] = kind, data + draw(st.binary(max_size=300))
    elif what == "swap":
        other = draw(st.integers(0, len(chunks) - 1))
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif what == "pixels":
        chunks = [one for one in chunks if one[0] != b"IDAT"]
        rows = draw(st.binary(max_size=2500)) + bytes(draw(st.sampled_from([0, 2000, 3_000_000])))
        chunks.insert(max(1, len(chunks) - 1), (b"IDAT", zlib.compress(rows)))
    elif what == "profile":
        profile = bytearray(draw(st.sampled_from([rgb_profile(), grey_profile(2.2)])))
        for _ in range(draw(st.integers(1, 8))):
            place = draw(st.integers(0, len(profile) - 4))
            profile[place : place + 4] = draw(
                st.sampled_from(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"curv", b"XYZ ", b"\x7f\xff\xff\xff", b"mft2", b"para"]
                )
            )
        chunks.insert(1, (b"iCCP", b"p\0\0" + zlib.compress(bytes(profile))))
    elif what == "exif":
        chunks.insert(1, (b"eXIf", draw(st.sampled_from([b"II*\0", b"MM\0*", b""])) + draw(st.binary(max_size=60))))
    return joined(chunks)


_CHANGES = st.sampled_from(
    [_with_bytes_changed, _cut, _with_another_header, _with_chunks_changed, _with_chunks_changed]
)

_SLOW = settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

_ANY_BYTES = st.builds(
    lambda start, rest: start + rest,
    st.sampled_from([b"", SIGNATURE, SEEDS[0][:33], SEEDS[-1][:50]]),
    st.binary(max_size=400),
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")


@given(images=st.lists(mutated_pngs(), min_size=IMAGES_A_BATCH, max_size=IMAGES_A_BATCH))
@_SLOW
def test_a_mutated_png_is_shown_or_refused(images: list[bytes]) -> None:
    answers_to(images)


@given(images=st.lists(_ANY_BYTES, min_size=IMAGES_A_BATCH, max_size=IMAGES_A_BATCH))
@settings(_SLOW, max_examples=5)
def test_any_bytes_are_refused(images: list[bytes]) -> None:
    answers_to(images)


def test_the_largest_pictures_of_all_kinds_stay_within_the_bound() -> None:
    """Bombs: the largest number of pixels that is accepted, in a few kilobytes."""
    side_px = LARGEST_SIDE_PX
    images, kinds = [], [(0, 1), (0, 8), (0, 16), (2, 8), (2, 16), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    bomb = chunk(b"IDAT", zlib.compress(bytes(2**28)))
    for colour_type, depth in kinds:
        row_bytes = (side_px * depth * channels[colour_type] + 7) // 8 + 1
        data = zlib.compress(bytes(row_bytes * side_px))
        palette = chunk(b"PLTE", bytes(768)) if colour_type == 3 else b""
        for more in (b"", bomb):
            pixels = chunk(b"IDAT", data) + more
            images.append(
                SIGNATURE + header_chunk(side_px, side_px, depth, colour_type) + palette + pixels + chunk(b"IEND")
            )
    answers = answers_to(images, max_pixels=side_px**2)
    assert answers[::2] == ["shown"] * len(kinds)


# Takes the path of an image, and says how much memory its thumbnail took at the peak, beyond what another had taken.
_MEASURING_CHILD = textwrap.dedent("""
    import pathlib, sys
    from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
    from sdgen_thumbnail_plugin.model import Recipe

    def told(name):
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    small, large = (pathlib.Path(path).read_bytes() for path in sys.argv[1:])
    make_thumbnail(small, Recipe())
    before_bytes = told("VmRSS")
    make_thumbnail(large, Recipe())
    print(told("VmHWM") - before_bytes)
""")
PLAIN_KINDS = [(0, 1), (0, 8), (0, 16), (2, 8), (2, 16), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]


@pytest.mark.parametrize("fast", ["1", "0"])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour_type", "depth"), PLAIN_KINDS)
def test_no_kind_of_picture_takes_more_memory_than_it_asks_for(
    tmp_path: Path, colour_type: int, depth: int, interlaced: bool, fast: str
) -> None:
    """The memory budget relies on it."""
    side_px = LARGEST_SIDE_PX
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = [(len(range(x, side_px, step_x)), len(range(y, side_px, step_y))) for x, y, step_x, step_y in passes]
    raw = b"".join(bytes(((columns * depth * CHANNELS[colour_type] + 7) // 8 + 1) * count) for columns, count in rows)
    palette = chunk(b"PLTE", bytes(768)) if colour_type == 3 else b""
    png = SIGNATURE + header_chunk(side_px, side_px, depth, colour_type, interlaced) + palette
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(as_png(photo(600, 500)))
    large.write_bytes(png + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND"))
    environment = {**os.environ, FAST_VARIABLE: fast, "MALLOC_ARENA_MAX": "1"}
    ask = "import pathlib, sys; from sdgen_thumbnail_plugin.imaging import thumbnail, png"
    ask += "; print(4 * thumbnail.peak_pixels("
    ask += "png.read_header(pathlib.Path(sys.argv[2]).read_bytes())))"
    taken_bytes, asked_bytes = (
        int(subprocess.run([sys.executable, "-c", code, small, large], env=environment, check=True,
                           capture_output=True).stdout)
        for code in (_MEASURING_CHILD, ask)
    )  # fmt: skip
    assert taken_bytes < asked_bytes * 1.1 + 8 * 2**20, (taken_bytes / side_px**2, asked_bytes / side_px**2)


def test_a_picture_over_the_limit_is_refused_before_it_is_decoded() -> None:
    for width_px, height_px in ((1001, 1000), (60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1)):
        for colour_type, depth in ((2, 8), (6, 16), (0, 1)):
            png = SIGNATURE + header_chunk(width_px, height_px, depth, colour_type) + SEEDS[0][33:]
            assert answers_to([png]) == ["refused TooManyPixelsError"]


SABOTAGES = {
    "a crash": ("os.abort()", "ends with -6 at b'bad'"),
    "a hang": ("time.sleep(600)", "hangs at b'bad'"),
    "a long thought": ("time.sleep(3)", "thinks for 3.* s about b'bad'"),
    "more memory than a picture takes": ("bytearray(max_pixels * 17)", "raised MemoryError"),
}


@pytest.mark.parametrize("what", SABOTAGES)
def test_the_limits_of_these_tests_are_seen(what: str) -> None:
    """A fault that the imaging never had would be noticed."""
    deed, told = SABOTAGES[what]
    sabotage = textwrap.dedent(f"""
        import os
        rightly = make_thumbnail
        def make_thumbnail(png, *arguments, **options):
            if png == b"bad":
                {deed}
            return rightly(png, *arguments, **options)
    """)
    images = [SEEDS[0], b"bad", *[SEEDS[1]] * 20]  # enough that the process has time to start
    with pytest.raises(AssertionError, match=told):
        answers_to(images, max_pixels=LARGEST_SIDE_PX**2, hang_s=2.5, sabotage=sabotage)
    assert answers_to([SEEDS[0]], sabotage=sabotage) == ["shown"]


# -- the configuration

_NAMES = st.one_of(
    st.sampled_from([*Settings.model_fields, "thumbnails", "thumbnail", "output_dir", "source", ""]),
    st.text(max_size=9),
)
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=20),
    st.sampled_from(["auto", "native", "polling", "results", "..", "/", "~", "\0", "a\0b", "\ud800", "x" * 5000]),
    st.sampled_from(["1e400", "nan", " 5 "]),
)  # fmt: skip
JSON_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_NAMES, inner, max_size=5)),
    max_leaves=15,
)
CONFIGURATIONS = st.one_of(
    JSON_VALUES,
    st.fixed_dictionaries(
        {"thumbnails": st.dictionaries(_NAMES, JSON_VALUES, max_size=3)}, optional={"output_dir": JSON_VALUES}
    ),
    st.builds(lambda name, value: {"thumbnails": {name: value}}, st.sampled_from(list(Settings.model_fields)), _LEAVES),
    st.builds(lambda value: {"output_dir": value}, _LEAVES),
)


def loaded(folder: Path, content: bytes) -> Settings | SettingsError:
    """The settings of a folder with this configuration, or the error that says why there are none."""
    (folder / CONFIG_NAME).write_bytes(content)
    try:
        return load_settings(folder)
    except SettingsError as error:
        found = error
    assert found.message
    assert found.path
    assert found.remedy
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configured")


_QUICK = settings(
    deadline=None, max_examples=400, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@given(content=CONFIGURATIONS)
@example(content={"thumbnails": {"sweep_interval_s": float("inf")}})
@example(content={"thumbnails": {"workers": 10**4000}})
@example(content={"thumbnails": {"polling_interval_s": 10**400}})
@example(content={"output_dir": ["results"]})
@_QUICK
def test_any_json_value_gives_settings_or_a_settings_error(folder: Path, content: Any) -> None:
    found = loaded(folder, json.dumps(content).encode("ascii"))
    if isinstance(found, Settings):
        assert found.source_dir.is_absolute()
        assert found.target_dir.is_absolute()
        assert 16 <= found.height_px <= 4096
        assert found.worker_count >= 1
        assert found.polling_interval_s >= 0.05


@given(
    content=st.one_of(
        st.binary(max_size=300), st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
@example(content=b"")
@example(content=b"\xff\xfe{\0}\0")
@example(content=b"\xef\xbb\xbf{}")
@example(content=b"[" * 100_000)
@example(content=b'{"a":' * 100_000)
@example(content=b'{"thumbnails": {"workers": ' + b"9" * 100_000 + b"}}")
@example(content=b'{"thumbnails": {"workers": NaN}}')
@example(content=b'{"thumbnails": {"sweep_interval_s": NaN}}')
@example(content=b'{"thumbnails": {"workers": 1}, "thumbnails": 7}')
@_QUICK
def test_any_bytes_give_settings_or_a_settings_error(folder: Path, content: bytes) -> None:
    loaded(folder, content)


@pytest.mark.parametrize("depth", [50, 200, 400, 600, 800, 900, 950, 980, 990, 1000, 2000])
@pytest.mark.parametrize("key", ["workers", "source_dir", "observer"])
def test_a_deeply_nested_value_gives_a_settings_error(folder: Path, depth: int, key: str) -> None:
    content = f'{{"thumbnails": {{"{key}": {"[" * depth}{"]" * depth}}}}}'
    assert isinstance(loaded(folder, content.encode("ascii")), SettingsError)


@given(value=_LEAVES, name=st.sampled_from(["source_dir", "target_dir"]))
@example(value="a\0b", name="source_dir")
@example(value="\ud800", name="target_dir")
@example(value="x" * 5000, name="source_dir")
@_QUICK
def test_any_folder_that_is_named_can_be_looked_at_or_is_refused(folder: Path, value: Any, name: str) -> None:
    found = loaded(folder, json.dumps({"thumbnails": {name: value}}).encode("ascii"))
    if isinstance(found, Settings):
        with contextlib.suppress(SettingsError):
            check_roots(found, must_exist=False)


def in_time(folder: Path, timeout_s: float) -> str:
    """Loads a folder's configuration in another process with little memory."""
    code = (
        "import pathlib\nfrom sdgen_thumbnail_plugin.settings import load_settings\n"
        "from sdgen_thumbnail_plugin.errors import SettingsError\n"
        "try: load_settings(pathlib.Path.cwd()); print('settings')\n"
        "except SettingsError: print('refused')"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, timeout=timeout_s, capture_output=True, text=True, preexec_fn=limit
    )
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize("what", ["fifo", "endless device"])
def test_a_configuration_that_is_no_file_is_refused(tmp_path: Path, what: str) -> None:
    if what == "fifo":
        os.mkfifo(tmp_path / CONFIG_NAME)
    else:
        (tmp_path / CONFIG_NAME).symlink_to("/dev/zero")
    assert in_time(tmp_path, 8.0) == "refused"


def test_a_configuration_of_megabytes_is_refused_in_time(tmp_path: Path) -> None:
    for content in (
        b'{"thumbnails": {"' + b"x" * 15_000_000 + b'": 1}}',
        b'{"thumbnails": {"source_dir": [' + b"0," * 5_000_000 + b"0]}}",
        b"{" + b",".join(b'"thumbnail%d": 0' % number for number in range(100_000)) + b"}",
    ):
        (tmp_path / CONFIG_NAME).write_bytes(content)
        assert in_time(tmp_path, 30.0) == "refused"


def search(images: int, seed: int) -> None:
    """Tries a number of mutants, other ones for each seed."""
    tried = 0

    @hypothesis.seed(seed)
    @given(batch=st.lists(mutated_pngs(), min_size=IMAGES_A_BATCH, max_size=IMAGES_A_BATCH))
    @settings(_SLOW, max_examples=max(1, images // IMAGES_A_BATCH), derandomize=False)
    def try_batch(batch: list[bytes]) -> None:
        nonlocal tried
        answers_to(batch)
        tried += len(batch)

    try:
        try_batch()
    finally:
        print(f"{tried:,} mutants of seed {seed} were shown or refused")


def main() -> None:
    search(int(sys.argv[1]), int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("SDGEN_FAULT_SEED", "1")))


if __name__ == "__main__":
    main()
