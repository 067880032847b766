"""The figures of a run as parts of the page: small enough to send, with words that say what they show."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from reports.figures.style import PIXELS_PER_INCH

SMALL_SVG: Final = 120_000
WIDTHS: Final = (1600, 1000, 640)
COLOURS: Final = 256
CSS_PIXELS_PER_INCH: Final = 96

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
    "curves": (
        "Training curves",
        "a panel for each logged quantity over training steps, a line for each seed",
    ),
}


class Picture(NamedTuple):
    """A figure: title, words that say what it shows, its width in CSS pixels, its data.

    ``url`` is empty where it was left out for its size.
    """

    title: str
    words: str
    width: int
    url: str


def described(stem: str) -> tuple[str, str]:
    """Return title and words of a figure from the name of its file, such as ``curves-activa``."""
    kind, _, of = stem.partition("-")
    title, words = KINDS.get(kind, (kind, "a figure of the run"))
    of = f" · {of}" if of else ""
    return title + of, f"{title}{of}: {words}."


def pictures(files: Sequence[Path], *, most_bytes: int) -> list[Picture]:
    """Return figures that together take no more than `most_bytes` of the page.

    A figure is an SVG where that is small, else a PNG. Where all together are too large, the largest gets
    fewer colours and pixels until they fit, and is left out in the end.

    Parameters
    ----------
    files
        Each figure as PNG and as SVG.
    most_bytes
        Of all together, encoded.
    """
    stems = list(dict.fromkeys(file.with_suffix("") for file in files))
    step = dict.fromkeys(stems, 0)
    urls = {stem: _url(stem, 0) for stem in stems}
    while sum(map(len, urls.values())) > most_bytes:
        largest = max(urls, key=lambda stem: len(urls[stem]))
        step[largest] += 1
        urls[largest] = _url(largest, step[largest])
    return [Picture(*described(stem.name), _width(stem), url) for stem, url in urls.items()]


def _width(stem: Path) -> int:
    """Return how wide a figure was drawn, in CSS pixels."""
    with Image.open(_png(stem)) as image:
        return round(image.width / PIXELS_PER_INCH * CSS_PIXELS_PER_INCH)


def _png(stem: Path) -> Path:
    # Not with_suffix: names of models may hold dots.
    return stem.with_name(f"{stem.name}.png")


def _url(stem: Path, step: int) -> str:
    """Return a figure's data as a URL, smaller with each step; empty after the last."""
    if step == 0:
        svg = stem.with_name(f"{stem.name}.svg").read_bytes()
        if len(svg) <= SMALL_SVG:
            return _data("image/svg+xml", svg)
        return _data("image/png", _png(stem).read_bytes())
    if step > len(WIDTHS):
        return ""
    width, file = WIDTHS[step - 1], BytesIO()
    with Image.open(_png(stem)) as image:
        flat = image.convert("RGB")
    flat.thumbnail((width, 100 * width), Image.Resampling.LANCZOS)
    flat.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return _data("image/png", file.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
