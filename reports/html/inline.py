"""A figure as part of the page: matplotlib's SVG without the inline styles that the page's policy forbids."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

SVG: Final = "http://www.w3.org/2000/svg"
XLINK: Final = "http://www.w3.org/1999/xlink"
POINTS_PER_INCH: Final = 72
PAGE_PIXELS_PER_INCH: Final = 130
"""How large figures stand in a page: one of 8.8 inches is as wide as the text, its letters as high."""


def inline_svg(text: str, *, prefix: str, label: str) -> str:
    """Return an SVG that can stand in a page among others.

    Parameters
    ----------
    text
        The SVG, as matplotlib writes it.
    prefix
        Text that is put before every id.
    label
        What it shows, for those who cannot see it.

    Returns
    -------
    str
        One element: styles are attributes, metadata are gone, the height follows from the width.
    """
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{SVG}}}style":
                # matplotlib's one rule, for all elements: they inherit it from the outermost.
                root.attrib |= _declarations((child.text or "").partition("{")[2].rstrip("}"))
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        element.attrib |= _declarations(element.attrib.pop("style", ""))
        if (target := element.attrib.pop(f"{{{XLINK}}}href", None)) is not None:
            element.attrib["href"] = target
        for name, value in element.attrib.items():
            element.attrib[name] = _renamed(name, value, prefix)
    inches = float(root.attrib["width"].removesuffix("pt")) / POINTS_PER_INCH
    root.attrib["width"] = str(round(inches * PAGE_PIXELS_PER_INCH))
    del root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _declarations(style: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in style.split(";") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _renamed(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        return re.sub("^#", f"#{prefix}", value)
    return re.sub(r"url\(#", f"url(#{prefix}", value)
