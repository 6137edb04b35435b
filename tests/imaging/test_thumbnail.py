"""Making thumbnails: the image that a WebP shows for every kind of PNG."""

from __future__ import annotations

import io
import math
import random
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageFile, ImageStat, PngImagePlugin, UnidentifiedImageError

from sdgen_thumbnail_plugin.errors import (
    DamagedImageError,
    EncoderRefusedError,
    OutOfMemoryError,
    TooManyPixelsError,
)
from sdgen_thumbnail_plugin.imaging import accelerators, thumbnail
from sdgen_thumbnail_plugin.imaging.png import DEPTHS, PngHeader, read_header
from sdgen_thumbnail_plugin.imaging.thumbnail import (
    MAX_WEBP_SIDE_PX,
    make_thumbnail,
    peak_pixels,
    thumbnail_size,
)
from sdgen_thumbnail_plugin.model import Recipe
from support.pictures import (
    CHANNELS,
    SIGNATURE,
    as_png,
    chunk,
    chunks_of,
    corner_marked,
    exif_with_orientation,
    grainy_photo,
    grey_profile,
    header_chunk,
    iccp_chunk,
    photo,
    png_of,
    rgb_profile,
    with_chunks,
)

RECIPE = Recipe()
SHARP = Recipe(height_px=64, quality=100, method=0)
FAST = Recipe(height_px=16, method=0)
WHITE = (255, 255, 255)
TYPES = [(ct, depth) for ct, depths in DEPTHS.items() for depth in depths]


def shown(webp: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    return image.convert("RGB")


def small(png: bytes, recipe: Recipe = SHARP) -> Image.Image:
    return shown(make_thumbnail(png, recipe))


def at(image: Image.Image, across: float, down: float) -> tuple[int, int, int]:
    """The colour at a place given in fractions of the sides."""
    colour = image.getpixel((int(across * image.width), int(down * image.height)))
    assert isinstance(colour, tuple)
    return colour[0], colour[1], colour[2]


def near(colour: tuple[int, int, int], wanted: tuple[int, int, int], tolerance: int = 6) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(colour, wanted, strict=True))


def difference(one: Image.Image, other: Image.Image) -> float:
    """Root of the mean squared difference, in steps of 255."""
    assert one.size == other.size
    rms = ImageStat.Stat(ImageChops.difference(one, other)).rms
    return float(sum(rms) / len(rms))


def plain(colour: tuple[int, ...] = (200, 40, 90), size: tuple[int, int] = (20, 20)) -> bytes:
    return as_png(Image.new("RGB", size, colour))


# The picture


def test_a_thumbnail_is_240_high_lossy_opaque_and_carries_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    webp = make_thumbnail(as_png(photo(512, 768), exif=exif, icc_profile=rgb_profile()), RECIPE)
    image = Image.open(io.BytesIO(webp))
    assert image.size == (160, 240)
    assert image.mode == "RGB"
    assert webp[12:16] == b"VP8 "
    assert not {"exif", "icc_profile", "xmp"} & image.info.keys()


def test_it_looks_like_the_image_resized_by_lanczos() -> None:
    image = photo(800, 600)
    assert difference(small(as_png(image), Recipe(method=0)), image.resize((320, 240), Image.Resampling.LANCZOS)) < 6


def psnr_db(one: Image.Image, other: Image.Image) -> float:
    """Peak signal to noise ratio: the larger, the nearer they are."""
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    return 10 * math.log10(255**2 * 3 * one.width * one.height / sum(squares))


@pytest.fixture(scope="module")
def photographs() -> list[tuple[bytes, Image.Image, bytes]]:
    """PNGs of the usual sizes, each with its exact resize and with what the obvious program makes of it."""
    found = []
    for size in ((512, 768), (1024, 1024), (832, 1216)):
        for seed in range(3):
            image = grainy_photo(*size, seed)
            exact = image.resize(thumbnail_size(*size, 240), Image.Resampling.LANCZOS)
            webp = io.BytesIO()
            exact.save(webp, "WEBP", quality=85, method=6)
            found.append((as_png(image, compress_level=1), exact, webp.getvalue()))
    return found


@pytest.mark.parametrize("resizer", ["the fastest there is", "Pillow"])
def test_it_is_as_good_and_as_small_as_what_the_obvious_program_makes(
    resizer: str, photographs: list[tuple[bytes, Image.Image, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if resizer == "Pillow":
        monkeypatch.setattr(accelerators, "_resizer", lambda: None)
    losses_db, ours_bytes, theirs_bytes = [], 0, 0
    for png, exact, theirs in photographs:
        ours = make_thumbnail(png, RECIPE)
        losses_db.append(psnr_db(shown(theirs), exact) - psnr_db(shown(ours), exact))
        ours_bytes += len(ours)
        theirs_bytes += len(theirs)
    # All together: a single one may differ by 0.2 dB and 6 %, because samples that differ by one make the encoder
    # decide otherwise. Bicubic instead of Lanczos loses 0.25 dB and 7 %.
    assert abs(sum(losses_db) / len(losses_db)) < 0.1
    assert abs(ours_bytes / theirs_bytes - 1) < 0.03


def test_the_recipe_decides_height_and_quality() -> None:
    png = as_png(photo())
    rough, fine = (make_thumbnail(png, Recipe(height_px=100, quality=q)) for q in (20, 95))
    assert shown(rough).size == shown(fine).size == (125, 100)
    assert len(rough) < len(fine)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (100, 50), (1, 20_000), (20_000, 1), (239, 240), (1001, 333)])
def test_every_size_gives_exactly_the_height_asked_for(size: tuple[int, int]) -> None:
    image = small(plain(size=size), Recipe(method=0))
    assert image.size == thumbnail_size(*size, 240)
    assert near(at(image, 0.5, 0.5), (200, 40, 90))


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.integers(1, 4000))
@example(20_000, 1, 240)
@example(1, 20_000, 240)
@settings(max_examples=200)
def test_widths_follow_the_formula(width: int, height: int, wanted: int) -> None:
    got_width, got_height = thumbnail_size(width, height, wanted)
    assert got_height == wanted
    assert 1 <= got_width <= MAX_WEBP_SIDE_PX
    if 1 < got_width < MAX_WEBP_SIDE_PX:
        assert abs(got_width * height - wanted * width) * 2 <= height + 1


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour_type", "depth"), TYPES)
def test_every_colour_type_and_depth_shows_its_gradient(colour_type: int, depth: int, interlaced: bool) -> None:
    top = (1 << depth) - 1
    width = 64

    def samples(x: int, y: int) -> list[int]:
        grey = x * (top + 1) // width
        alpha = [top] if colour_type in (4, 6) else []
        return [grey] * (CHANNELS[colour_type] - len(alpha)) + alpha

    palette = [i * 255 // top for i in range(top + 1) for _ in "rgb"] if colour_type == 3 else ()
    png = png_of(width, 32, depth, colour_type, samples, palette=palette, interlaced=interlaced, idat_bytes=9)
    assert read_header(png) == PngHeader(width, 32, depth, colour_type, interlaced)
    image = small(png)
    assert image.size == (128, 64)
    for across in (0.02, 0.3, 0.55, 0.8, 0.98):
        grey = int(across * width) * (top + 1) // width * 255 // top
        assert near(at(image, across, 0.5), (grey, grey, grey), 6 if depth >= 8 else 40)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    image = small(png_of(256, 8, 16, 0, lambda x, y: [x * 257]), Recipe(height_px=8, quality=100, method=0))
    assert all(near(at(image, x / 256, 0.5), (x, x, x), 3) for x in range(0, 256, 5))


def test_a_palette_image_is_resized_smoothly() -> None:
    palette = photo(600, 600).quantize(64)
    got = small(as_png(palette), Recipe(quality=100, method=0))
    assert difference(got, palette.convert("RGB").resize((240, 240), Image.Resampling.LANCZOS)) < 5
    assert difference(got, palette.resize((240, 240), Image.Resampling.NEAREST).convert("RGB")) > 8


def test_palette_entries_that_are_missing_show_black() -> None:
    image = small(png_of(16, 16, 8, 3, lambda x, y: [0 if x < 8 else 200], palette=[250, 10, 20]))
    assert near(at(image, 0.2, 0.5), (250, 10, 20))
    assert near(at(image, 0.8, 0.5), (0, 0, 0))


def test_an_animated_png_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    png = as_png(frames[0], save_all=True, append_images=frames[1:], duration=50)
    assert {b"acTL", b"fcTL", b"fdAT"} <= {kind for kind, _ in chunks_of(png)}
    assert near(at(small(png), 0.5, 0.5), (254, 0, 0))


# Transparency


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour_type", [4, 6])
def test_transparency_is_flattened_on_white(colour_type: int, depth: int) -> None:
    top = (1 << depth) - 1
    alphas = [0, top // 2, top]
    png = png_of(30, 10, depth, colour_type, lambda x, y: [0] * (CHANNELS[colour_type] - 1) + [alphas[x // 10]])
    image = small(png)
    assert near(at(image, 0.1, 0.5), WHITE)
    assert near(at(image, 0.5, 0.5), (128, 128, 128))
    assert near(at(image, 0.9, 0.5), (0, 0, 0))


def test_an_opaque_rgba_image_looks_the_same_as_without_its_alpha() -> None:
    assert make_thumbnail(as_png(photo().convert("RGBA")), RECIPE) == make_thumbnail(as_png(photo()), RECIPE)
    grey = photo().convert("L")
    assert make_thumbnail(as_png(grey.convert("LA")), RECIPE) == make_thumbnail(as_png(grey), RECIPE)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_one_transparent_grey_shows_white_and_its_neighbours_do_not(depth: int) -> None:
    key = 1 if depth < 16 else 0x1234
    other = 0 if depth < 16 else 0x1233
    png = png_of(20, 10, depth, 0, lambda x, y: [key if x < 10 else other], transparency=struct.pack(">H", key))
    image = small(png)
    assert near(at(image, 0.2, 0.5), WHITE)
    assert near(at(image, 0.8, 0.5), (other >> 8,) * 3)
    if depth > 1:
        beyond = png_of(8, 8, depth, 0, lambda x, y: [key + 1], transparency=struct.pack(">H", key))
        grey = (key + 1) * 255 // ((1 << depth) - 1)
        assert near(at(small(beyond), 0.5, 0.5), (grey, grey, grey))


@pytest.mark.parametrize("depth", [8, 16])
def test_the_one_transparent_colour_shows_white_and_others_do_not(depth: int) -> None:
    unit = 1 if depth == 8 else 257
    key = [10 * unit, 200 * unit, 30 * unit]
    other = [10 * unit, 201 * unit, 30 * unit]
    png = png_of(20, 10, depth, 2, lambda x, y: key if x < 10 else other, transparency=struct.pack(">3H", *key))
    image = small(png)
    assert near(at(image, 0.2, 0.5), WHITE)
    assert near(at(image, 0.8, 0.5), (10, 201, 30))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [b"\0", b"\0\xff", b"\x7f"])
def test_transparent_palette_entries_show_white(depth: int, transparency: bytes) -> None:
    png = png_of(20, 10, depth, 3, lambda x, y: [x // 10], palette=[0, 0, 0, 200, 30, 60], transparency=transparency)
    image = small(png)
    grey = 255 - transparency[0]
    assert near(at(image, 0.2, 0.5), (grey, grey, grey))
    assert near(at(image, 0.8, 0.5), (200, 30, 60), 8)


@pytest.mark.parametrize(("colour_type", "transparency"), [(0, b"\0"), (2, b"\0\1"), (3, bytes(9)), (6, bytes(6))])
def test_transparency_of_the_wrong_length_is_ignored(colour_type: int, transparency: bytes) -> None:
    palette = [0, 0, 0] if colour_type == 3 else ()
    alpha = [255] if colour_type == 6 else []
    png = png_of(
        8, 8, 8, colour_type, lambda x, y: [0] * (CHANNELS[colour_type] - len(alpha)) + alpha,
        palette=palette, transparency=transparency,
    )  # fmt: skip
    assert near(at(small(png), 0.5, 0.5), (0, 0, 0))


# Orientation


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize(
    ("orientation", "stored_as"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
        (9, None),
    ],
)
def test_all_orientations_come_out_upright(
    orientation: int, stored_as: Image.Transpose | None, order: str, prefix: bytes
) -> None:
    upright = corner_marked(90, 60)
    stored = upright if stored_as is None else upright.transpose(stored_as)
    exif = chunk(b"eXIf", prefix + exif_with_orientation(orientation, order=order))
    image = small(with_chunks(as_png(stored), exif))
    assert image.size == (96, 64)
    corners = [at(image, x, y) for x, y in ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))]
    wanted = [(254, 0, 0), (0, 255, 1), (0, 0, 254), (255, 255, 0)]
    assert all(near(got, want, 12) for got, want in zip(corners, wanted, strict=True)), corners


# Colour


def test_a_wide_gamut_profile_is_converted_to_srgb() -> None:
    # A green within Adobe RGB (1998) that sRGB can only just hold: its red comes down a long way.
    png = plain((100, 180, 100))
    image = small(with_chunks(png, iccp_chunk(rgb_profile())))
    assert near(at(small(png), 0.5, 0.5), (100, 180, 100))
    expected = ImageCms.profileToProfile(
        Image.new("RGB", (1, 1), (100, 180, 100)),
        ImageCms.getOpenProfile(io.BytesIO(rgb_profile())),
        ImageCms.createProfile("sRGB"),
    )
    assert expected is not None
    wanted = at(expected, 0, 0)
    assert wanted[0] < 60
    assert near(at(image, 0.5, 0.5), wanted)


def test_a_grey_profile_is_applied_to_grey_images() -> None:
    for png in (as_png(Image.new("L", (20, 20), 128)), png_of(20, 20, 16, 4, lambda x, y: [128 * 257, 65535])):
        assert near(at(small(png), 0.5, 0.5), (128, 128, 128))
        linear = at(small(with_chunks(png, iccp_chunk(grey_profile(1.0)))), 0.5, 0.5)
        assert near(linear, (188, 188, 188))


def broken_profiles() -> list[bytes]:
    good = rgb_profile()
    return [
        iccp_chunk(b""),
        iccp_chunk(b"not a profile"),
        iccp_chunk(good[:200]),
        iccp_chunk(good[:140] + random.Random(2).randbytes(len(good) - 140)),
        iccp_chunk(good, packed=b"not a zlib stream"),
        iccp_chunk(good, packed=zlib.compress(good)[:-30]),
        iccp_chunk(good, packed=zlib.compress(good + bytes(50_000_000))),
        iccp_chunk(grey_profile(1.0)),
        chunk(b"iCCP", b"no end of the name"),
        chunk(b"iCCP", b""),
        iccp_chunk(good)[:-1] + b"?",
    ]


@pytest.mark.parametrize("iccp", broken_profiles())
def test_a_broken_or_unfitting_profile_is_ignored(iccp: bytes) -> None:
    assert make_thumbnail(with_chunks(plain(), iccp), FAST) == make_thumbnail(plain(), FAST)


def test_an_rgb_profile_on_a_grey_image_is_ignored() -> None:
    grey = as_png(Image.new("L", (20, 20), 128))
    assert make_thumbnail(with_chunks(grey, iccp_chunk(rgb_profile(1.0))), FAST) == make_thumbnail(grey, FAST)


@pytest.mark.parametrize("broken", ["from PIL import ImageCms", "ImageCms.getOpenProfile"])
def test_profiles_are_ignored_where_pillow_has_no_little_cms(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ImportError("The _imagingcms C module is not installed")

    if broken == "ImageCms.getOpenProfile":
        monkeypatch.setattr(ImageCms, "getOpenProfile", missing)
    else:
        monkeypatch.delattr("PIL.ImageCms")
        monkeypatch.setitem(sys.modules, "PIL.ImageCms", None)
    thumbnail._srgb_transform.cache_clear()
    png = with_chunks(plain(), iccp_chunk(rgb_profile()))
    try:
        assert make_thumbnail(png, FAST) == make_thumbnail(plain(), FAST)
    finally:
        thumbnail._srgb_transform.cache_clear()


def test_colour_management_is_imported_only_for_a_profile() -> None:
    code = "import sys, sdgen_thumbnail_plugin.imaging.thumbnail; sys.exit('PIL.ImageCms' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


# Too large


def test_sixty_thousand_squared_is_refused_by_its_header_alone() -> None:
    head = SIGNATURE + header_chunk(60_000, 60_000)
    assert read_header(head).pixels == 3_600_000_000
    with pytest.raises(TooManyPixelsError, match="60000x60000"):
        make_thumbnail(head, RECIPE)


@pytest.mark.parametrize(
    ("colour_type", "depth", "bytes_a_pixel"),
    [(0, 8, 4), (2, 8, 4), (2, 16, 4), (3, 1, 5), (4, 8, 9), (6, 8, 9), (0, 16, 12)],
)
def test_memory_is_asked_for_by_the_kind_of_image(
    colour_type: int, depth: int, bytes_a_pixel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerators, "_decoder", lambda: None)
    monkeypatch.setattr(accelerators, "_resizer", lambda: None)
    header = PngHeader(1000, 4, depth, colour_type, False)
    assert peak_pixels(header) == 1000 * bytes_a_pixel
    monkeypatch.setattr(accelerators, "_resizer", lambda: object())
    assert peak_pixels(header) == 1000 * (bytes_a_pixel if colour_type in (0, 4) else 10)


def test_max_pixels_is_respected_to_the_pixel() -> None:
    assert make_thumbnail(plain(size=(20, 20)), FAST, max_pixels=400)
    with pytest.raises(TooManyPixelsError):
        make_thumbnail(plain(size=(20, 20)), FAST, max_pixels=399)


def test_pillows_own_limit_and_its_warning_do_not_fire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert make_thumbnail(as_png(photo()), FAST)


def test_no_memory_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(accelerators, "_decoder", lambda: None)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", no_room)
    with pytest.raises(OutOfMemoryError):
        make_thumbnail(plain(), FAST)


@pytest.mark.parametrize("error", [ValueError("encoding error 5"), OSError("no"), KeyError("WEBP"), ImportError("no")])
def test_whatever_the_encoder_says_is_one_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "save", refuse)
    png = b"".join([SIGNATURE, header_chunk(1, 1), chunk(b"IDAT", zlib.compress(bytes(4))), chunk(b"IEND")])
    with pytest.raises(EncoderRefusedError):
        make_thumbnail(png, FAST)


def test_a_side_that_webp_cannot_hold_is_refused_by_the_encoder() -> None:
    with pytest.raises(EncoderRefusedError):
        make_thumbnail(plain(size=(1, 100)), Recipe(height_px=MAX_WEBP_SIDE_PX + 1, method=0))


@pytest.mark.parametrize("error", [*thumbnail._PILLOW_ERRORS, UnidentifiedImageError, IndexError, KeyError])
def test_whatever_the_decoder_says_is_one_error(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    png = plain()

    def fail(*_: object) -> None:
        raise error("Something\n  is WRONG")

    monkeypatch.setattr(accelerators, "_decoder", lambda: None)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(DamagedImageError) as caught:
        make_thumbnail(png, FAST)
    assert caught.value.message.endswith(("something is wrong", "'something\\n is wrong'"))


# In other processes


def test_eight_threads_give_the_same_bytes() -> None:
    png = with_chunks(as_png(photo().convert("RGBA")), iccp_chunk(rgb_profile()))
    thumbnail._srgb_transform.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        results = set(threads.map(lambda _: make_thumbnail(png, RECIPE), range(24)))
    assert results == {make_thumbnail(png, RECIPE)}


def test_no_global_of_pillow_is_changed() -> None:
    code = """
import io, sys
from PIL import Image, ImageFile, PngImagePlugin
Image.preinit()
def everything():
    return {(m.__name__, k): repr(v) for m in (Image, ImageFile, PngImagePlugin) for k, v in vars(m).items()
            if k.isupper() and k not in ("ID", "OPEN", "SAVE", "SAVE_ALL", "MIME", "EXTENSION")}
before = everything()
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
png = io.BytesIO()
Image.new("RGBA", (300, 300)).save(png, "PNG")
make_thumbnail(png.getvalue(), Recipe())
after = everything()
assert before == after, {k: (before.get(k), after.get(k)) for k in after if before.get(k) != after.get(k)}
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
