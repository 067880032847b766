"""The figures of a run as parts of the page: small enough to send, with words that say what they show."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

from markupsafe import Markup
from PIL import Image

from reports.figures.style import PIXELS_PER_INCH
from reports.html.inline import PAGE_PIXELS_PER_INCH, inline_svg

INLINE: Final = "pareto"
SMALL_SVG: Final = 120_000
WIDTHS: Final = (1600, 1000, 640)
QUALITY: Final = 80

KINDS: Final = {
    "overview": (
        "Headline metrics",
        "a panel for each headline metric: the mean of every model and baseline as a dot with its interval, "
        "the controls and the ideal as vertical lines",
    ),
    "pareto": (
        "Speed and quality",
        "seconds of training and of sampling against the place between the best floor and real cells, "
        "the Pareto front as a line",
    ),
    "scale": (
        "All metrics between floor and ceiling",
        "a table of all values, blue where as good as real cells, white at the best floor, red beyond it",
    ),
    "roc": (
        "Real or synthetic?",
        "ROC curves of the forest, a panel for each generator, a line for each fold",
    ),
    "correlation": (
        "Correlations of marker genes",
        "a matrix for each generator, real cells above the diagonal, synthetic cells below it",
    ),
    "marginals": (
        "Genes and cells one by one",
        "a row for each generator: variance and zeros of genes over their mean, library size and expressed "
        "genes of cells, test cells as a solid and synthetic cells as a dashed line",
    ),
    "memorisation": (
        "Distances to training cells",
        "cumulative shares of synthetic and of test cells over their distance to the nearest training cell",
    ),
    "augmentation": (
        "Augmentation of a rare type",
        "F1 of the rare type over the share of its cells that was kept, a line for each augmenter",
    ),
    "embedding": (
        "Maps of cells",
        "UMAP and t-SNE of test and synthetic cells together, by source, by called cell type and by the "
        "expression of marker genes",
    ),
    "markers": (
        "Marker genes by type",
        "a panel for each marker gene, a violin for each called cell type, its left half of test cells, its "
        "right half of synthetic cells",
    ),
    "curves": (
        "Training curves",
        "a panel for each logged quantity over training steps, a line for each seed",
    ),
}


class Picture(NamedTuple):
    """A figure.

    Attributes
    ----------
    kind, title, words
        Name of its kind, its title, and what it shows.
    width
        Width in CSS pixels.
    svg
        The figure as an element of the page; empty where it is none.
    url
        The picture as data; empty where it is an element, or was left out for its size.
    """

    kind: str
    title: str
    words: str
    width: int
    svg: Markup
    url: str


def described(stem: str) -> tuple[str, str]:
    """Return title and words of a figure from the name of its file, such as ``curves-activa``."""
    kind, _, of = stem.partition("-")
    title, words = KINDS.get(kind, (kind, "a figure of the run"))
    of = f" · {of}" if of else ""
    return title + of, f"{title}{of}: {words}."


def pictures(files: Sequence[Path], *, prefix: str, most_bytes: int) -> list[Picture]:
    """Return figures that together take no more than `most_bytes` of the page.

    A figure is an SVG where that is small, else pixels without loss; that of speed and quality is an element
    of the page. Where all together are too large, the largest becomes pixels, and then fewer pixels until
    they fit, and is left out in the end.

    Parameters
    ----------
    files
        Each figure as PNG and as SVG.
    prefix
        Goes before every id of an element.
    most_bytes
        Most bytes that all pictures together may take, encoded.
    """
    stems = list(dict.fromkeys(file.with_suffix("") for file in files))
    step = {stem: 0 if stem.name.startswith(INLINE) else 1 for stem in stems}
    found = {stem: _picture(stem, first, f"{prefix}{stem.name}-") for stem, first in step.items()}
    while sum(map(_size, found.values())) > most_bytes:
        largest = max(found, key=lambda stem: _size(found[stem]))
        step[largest] += 1
        found[largest] = _picture(largest, step[largest], "")
    return list(found.values())


def _picture(stem: Path, step: int, prefix: str) -> Picture:
    """Return a figure, smaller with each step; with nothing to show after the last."""
    title, words = described(stem.name)
    svg, url = Markup(), ""
    if step == 0:
        text = stem.with_name(f"{stem.name}.svg").read_text(encoding="utf-8")
        svg = Markup(inline_svg(text, prefix=prefix, label=words))
    elif step <= 1 + len(WIDTHS):
        url = _url(stem, step)
    return Picture(stem.name.partition("-")[0], title, words, _width(stem), svg, url)


def _size(picture: Picture) -> int:
    return len(picture.svg.encode()) + len(picture.url)


def _width(stem: Path) -> int:
    """Return how wide a figure stands in the page, in CSS pixels."""
    with Image.open(_png(stem)) as image:
        return round(image.width / PIXELS_PER_INCH * PAGE_PIXELS_PER_INCH)


def _png(stem: Path) -> Path:
    # Not with_suffix: names of models may hold dots.
    return stem.with_name(f"{stem.name}.png")


def _url(stem: Path, step: int) -> str:
    file = BytesIO()
    with Image.open(_png(stem)) as image:
        flat = image.convert("RGB")
    if step == 1:
        svg = stem.with_name(f"{stem.name}.svg").read_bytes()
        if len(svg) <= SMALL_SVG:
            return _data("image/svg+xml", svg)
        flat.save(file, "WEBP", lossless=True)
    else:
        width = WIDTHS[step - 2]
        flat.thumbnail((width, 100 * width), Image.Resampling.LANCZOS)
        flat.save(file, "WEBP", quality=QUALITY)
    return _data("image/webp", file.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
