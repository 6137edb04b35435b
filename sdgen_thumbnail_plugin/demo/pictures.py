"""The pictures of the demonstration: drawn from a number, as PNGs like those of Stable Diffusion's web interfaces."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from io import BytesIO

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, PngImagePlugin

_GRAIN = 0.045  # a smooth gradient packs into a tenth of what a generated image takes; this much noise does not show

_Colour = tuple[int, int, int]
_Size = tuple[int, int]


def _ramp(size_px: _Size, colours: Sequence[_Colour]) -> Image.Image:
    """A gradient from top to bottom through the colours, evenly spaced."""
    column = Image.new("RGB", (1, len(colours)))
    for row, colour in enumerate(colours):
        column.putpixel((0, row), colour)
    # The middle of the first and last pixel is where the gradient begins and ends; what lies outside is cut off.
    box = (0.0, 0.5, 1.0, len(colours) - 0.5)
    return column.resize(size_px, Image.Resampling.BILINEAR, box=box)


def _between(one: _Colour, other: _Colour, share: float) -> _Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _glow(picture: Image.Image, centre: tuple[float, float], radius: float, colour: _Colour, strength: float) -> None:
    gradient = Image.radial_gradient("L")
    # The brightness of its rim differs between versions of Pillow; there the glow must end.
    rim = gradient.getpixel((gradient.width // 2, 0))
    assert isinstance(rim, int)
    mask = gradient.point([round(255 * strength * max(0.0, 1 - value / rim) ** 1.6) for value in range(256)])
    mask = mask.resize((max(2, round(2 * radius)),) * 2)
    picture.paste(colour, (round(centre[0] - radius), round(centre[1] - radius)), mask)


def _disc(pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, colour: _Colour) -> None:
    x, y = centre
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _ridge(
    chance: random.Random, size_px: _Size, base: float, swing: float, roughness: int
) -> list[tuple[float, float]]:
    """The outline of a range of hills, closed along the bottom edge."""
    width, height = size_px
    waves = [(chance.uniform(0.6, 1.4) * 1.9**n, chance.uniform(0, 7), swing / 1.7**n) for n in range(roughness)]
    line = [
        (float(x), base + sum(a * math.sin(f * 2 * math.pi * x / width + p) for f, p, a in waves))
        for x in range(0, width + 6, 6)
    ]
    return [(0.0, float(height)), *line, (width + 6.0, float(height))]


def _sea(chance: random.Random, size_px: _Size) -> Image.Image:
    width, height = size_px
    top, middle, low, sun = chance.choice(
        (
            ((38, 32, 84), (190, 74, 108), (255, 176, 96), (255, 240, 196)),
            ((24, 52, 96), (88, 140, 178), (250, 214, 160), (255, 248, 224)),
            ((64, 26, 66), (214, 84, 74), (255, 158, 82), (255, 228, 160)),
        )
    )
    picture = _ramp(size_px, (top, middle, low, low))
    horizon = round(height * chance.uniform(0.5, 0.62))
    radius = min(size_px) * chance.uniform(0.07, 0.12)
    x = width * chance.uniform(0.3, 0.7)
    centre = (x, horizon - radius * chance.uniform(0.2, 1.8))
    _glow(picture, centre, radius * 5, sun, 0.7)
    pen = ImageDraw.Draw(picture)
    _disc(pen, centre, radius, sun)
    dark = _between(top, (0, 0, 0), 0.35)
    for depth in (0.4, 0.75):
        coast = _ridge(chance, (width, horizon), horizon - height * 0.035 * (1.4 - depth), height * 0.018, 4)
        pen.polygon(coast, fill=_between(low, dark, depth))
    picture.paste(_ramp((width, height - horizon), (_between(low, top, 0.35), top, dark)), (0, horizon))
    for _ in range(190):  # the sun on the waves: near the horizon narrow and dense, towards us wide and sparse
        down = chance.random() ** 1.6
        y = horizon + down * (height - horizon)
        spread = radius * (0.5 + 2.0 * down)
        middle_x, half = chance.gauss(x, spread * 0.5), radius * (0.12 + 0.5 * down) * chance.random()
        thick = max(1, round(height * 0.006 * (0.3 + down)))
        pen.line((middle_x - half, y, middle_x + half, y), fill=_between(sun, low, chance.random()), width=thick)
    for _ in range(chance.randint(1, 3)):
        length = width * chance.uniform(0.05, 0.11)
        bow, water = width * chance.uniform(0.1, 0.8), horizon + height * chance.uniform(0.03, 0.2)
        pen.polygon([(bow, water), (bow + length, water), (bow + length * 0.8, water + length * 0.2),
                     (bow + length * 0.2, water + length * 0.2)], fill=dark)  # fmt: skip
        pen.polygon([(bow + length * 0.48, water - length * 1.1), (bow + length * 0.48, water - length * 0.08),
                     (bow + length * 0.95, water - length * 0.08)], fill=_between(dark, low, 0.25))  # fmt: skip
        pen.polygon([(bow + length * 0.42, water - length * 0.9), (bow + length * 0.42, water - length * 0.08),
                     (bow + length * 0.1, water - length * 0.08)], fill=_between(dark, low, 0.45))  # fmt: skip
    return picture


def _hills(chance: random.Random, size_px: _Size) -> Image.Image:
    width, height = size_px
    sky, haze, near, sun = chance.choice(
        (
            ((96, 150, 190), (246, 226, 200), (22, 54, 66), (255, 250, 230)),
            ((150, 120, 170), (255, 214, 196), (52, 30, 70), (255, 236, 210)),
            ((110, 168, 150), (240, 240, 206), (16, 60, 48), (255, 252, 220)),
        )
    )
    picture = _ramp(size_px, (sky, haze, haze))
    radius = min(size_px) * chance.uniform(0.05, 0.1)
    centre = (width * chance.uniform(0.2, 0.8), height * chance.uniform(0.16, 0.34))
    _glow(picture, centre, radius * 4, sun, 0.8)
    _disc(ImageDraw.Draw(picture), centre, radius, sun)
    layers = 6
    for layer in range(layers):
        depth = layer / (layers - 1)
        outline = _ridge(chance, size_px, height * (0.42 + 0.44 * depth), height * (0.05 + 0.02 * depth), 5)
        mask = Image.new("L", size_px)
        ImageDraw.Draw(mask).polygon(outline, fill=255)
        crest = _between(haze, near, 0.18 + 0.78 * depth)
        # Mist gathers in the valleys: every range fades downwards.
        picture.paste(_ramp(size_px, (crest, crest, _between(crest, haze, 0.45 * (1 - depth)))), (0, 0), mask)
    pen = ImageDraw.Draw(picture)
    for _ in range(chance.randint(3, 6)):
        x, y, span = width * chance.random(), height * chance.uniform(0.1, 0.38), width * chance.uniform(0.01, 0.02)
        pen.line((x - span, y - span * 0.5, x, y, x + span, y - span * 0.5), fill=near, width=max(1, width // 300))
    return picture


def _paper(chance: random.Random, size_px: _Size) -> Image.Image:
    """Tiles of quarter circles, as if cut from paper."""
    width, height = size_px
    colours: Sequence[_Colour] = chance.choice(
        (
            ((243, 233, 214), (226, 88, 62), (34, 60, 92), (240, 178, 70), (116, 164, 158)),
            ((238, 230, 222), (44, 70, 66), (214, 120, 92), (150, 178, 140), (236, 196, 120)),
            ((250, 240, 226), (92, 52, 110), (236, 108, 116), (255, 190, 110), (58, 122, 150)),
        )
    )
    picture = Image.new("RGB", size_px, colours[0])
    pen = ImageDraw.Draw(picture)
    across = chance.choice((3, 4))
    side = math.ceil(width / across)
    for top in range(0, height, side):
        for left in range(0, width, side):
            ground, *rings = chance.sample(colours, 4)
            pen.rectangle((left, top, left + side, top + side), fill=ground)
            corner_x, corner_y, start = chance.choice(((0, 0, 0), (1, 0, 90), (1, 1, 180), (0, 1, 270)))
            x, y = left + corner_x * side, top + corner_y * side
            for ring, colour in enumerate(rings):
                reach = side * (1 - ring / 3)
                pen.pieslice((x - reach, y - reach, x + reach, y + reach), start, start + 90, fill=colour)
    return picture


def _aurora(chance: random.Random, size_px: _Size) -> Image.Image:
    width, height = size_px
    picture = _ramp(size_px, ((6, 10, 30), (14, 36, 66), (30, 70, 92)))
    pen = ImageDraw.Draw(picture)
    for _ in range(140):
        x, y, bright = chance.random() * width, chance.random() * height * 0.7, chance.randint(110, 250)
        _disc(pen, (x, y), width / 900 + chance.random() * width / 600, (bright, bright, bright))
    small = (width // 8, height // 8)  # light has no edges: an eighth of the size is enough, and quick
    light = Image.new("RGB", small)
    brush = ImageDraw.Draw(light)
    for colour in chance.sample(((60, 255, 170), (90, 220, 255), (200, 110, 255), (90, 255, 120)), 3):
        base, phase, frequency = chance.uniform(0.3, 0.55), chance.uniform(0, 7), chance.uniform(0.6, 1.3)
        for x in range(small[0]):
            angle = 2 * math.pi * frequency * x / small[0] + phase
            foot = small[1] * (base + 0.09 * math.sin(angle) + 0.03 * math.sin(3.1 * angle))
            reach = small[1] * (0.24 + 0.09 * math.sin(2.3 * angle + 1)) * chance.uniform(0.75, 1.1)
            for step in range(max(1, round(reach))):
                share = (1 - step / reach) ** 1.5 * 0.8
                brush.point((x, round(foot - step)), fill=_between((0, 0, 0), colour, share))
    light = light.filter(ImageFilter.GaussianBlur(1.6)).resize(size_px, Image.Resampling.BICUBIC)
    picture = ImageChops.screen(picture, light)
    shore = round(height * 0.76)
    pen = ImageDraw.Draw(picture)
    for depth, base in ((0.35, 0.66), (0.75, 0.72)):
        pen.polygon(
            _ridge(chance, size_px, height * base, height * 0.035, 6), fill=_between((40, 80, 104), (4, 10, 20), depth)
        )
    lake = picture.crop((0, 2 * shore - height, width, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    lake = lake.filter(ImageFilter.BoxBlur(width / 170))
    picture.paste(Image.blend(lake, Image.new("RGB", lake.size, (4, 14, 30)), 0.35), (0, shore))
    return picture


SCENES: dict[str, Callable[[random.Random, _Size], Image.Image]] = {
    "harbour": _sea,
    "hills": _hills,
    "paper": _paper,
    "aurora": _aurora,
}


def draw(scene: str, seed: int, size_px: _Size) -> Image.Image:
    """A picture in RGB. The same seed gives the same picture.

    Args:
        scene: harbour, hills, paper or aurora.
        seed: chooses colours and shapes.
        size_px: width and height.
    """
    chance = random.Random(f"{scene} {seed}")
    picture = SCENES[scene](chance, size_px)
    grain = Image.frombytes("L", size_px, chance.randbytes(size_px[0] * size_px[1])).convert("RGB")
    return Image.blend(picture, grain, _GRAIN)


def encode(picture: Image.Image, *, prompt: str, seed: int) -> bytes:
    """The picture as a PNG with the text that Stable Diffusion's web interfaces write into it."""
    text = PngImagePlugin.PngInfo()
    text.add_text(
        "parameters",
        f"{prompt}, soft light, highly detailed\nNegative prompt: people, text, watermark\n"
        f"Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: {seed}, Size: {picture.width}x{picture.height}",
    )
    buffer = BytesIO()
    picture.save(buffer, "PNG", pnginfo=text, compress_level=1)
    return buffer.getvalue()


def annotated(picture: Image.Image, words: str) -> Image.Image:
    """With a line of text in a band, in RGBA: what the host's annotator overwrites an image with."""
    result = picture.convert("RGBA")
    pen = ImageDraw.Draw(result)
    band_px = picture.height // 12
    pen.rectangle((0, 0, picture.width, band_px), fill=(0, 0, 0, 255))
    pen.text((band_px // 3, band_px // 8), words, fill=(255, 255, 255, 255), font=font_of(band_px * 2 // 3))
    return result


def font_of(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; a small one where Pillow is 10.0, or was built without FreeType."""
    try:
        return ImageFont.load_default(size_px)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()
