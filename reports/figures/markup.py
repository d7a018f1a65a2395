"""Shrink matplotlib's SVG without changing how the figure looks.

A report holds dozens of figures and should open at once; this takes more than half off each.
"""

import hashlib
import re

TIP = "\N{SYMBOL FOR UNIT SEPARATOR}"
"""Begins the name of a group that is a mark; what to filter it by and what it says follow."""

_FONTS = "DejaVu Sans, sans-serif"
"""The font that figures are measured with; it ships with matplotlib and is wider than most."""

_INHERITED = 'stroke-linejoin="round" stroke-linecap="butt"'
"""What matplotlib says in a style sheet, which inside a page would hold for the whole page."""

_PRECISION = 2  # decimals of coordinates in points: a hundredth of one cannot be seen
_TAG = re.compile(r"<[^>]*>")
_NUMBER = re.compile(r"-?\d+\.\d+")
_SHAPE = re.compile(r' (?:d|x|y|points|transform|width|height)="[^"]*"')
_STYLE = re.compile(r'style="([^"]*)"')
_FAMILY = re.compile(r"font-family: [^;\"]*(?:; )?")
_UNTURNED = re.compile(r' transform="rotate\(-?0 [^"]*"')
_MARK = re.compile(r"(<g data-[^>]*><title>[^<]*</title>)")
_END = "</mark>"
"""Ends the group of a mark until those that say the same are joined."""

_INVISIBLE = re.compile(r'<path [^>]*style="fill:none"/>')


def compact(text: str) -> str:
    """Return the same figure in fewer characters, as one ``<svg>`` element.

    Text stays text. Identifiers are made from the content, so that equal figures give equal markup
    and different ones may share a page.

    Args:
        text: what matplotlib's SVG backend wrote, with text as text.
    """
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    ends: list[str] = []
    text = _TAG.sub(lambda tag: _tag(tag[0], ends), text)
    text = re.sub(r"(?<=>)\s+(?=<)", "", text)
    text = _joined(_INVISIBLE.sub("", text))
    text = text.replace("<svg", f'<svg font-family="{_FONTS}" {_INHERITED}', 1)
    return _renamed(text)


def _tag(tag: str, ends: list[str]) -> str:
    """Return a shorter tag, and none for a group that says nothing of what it holds.

    Args:
        tag: as matplotlib wrote it.
        ends: the closing tag of each group around, "" if its tags go; brought up to date.
    """
    if tag == "</g>":
        return ends.pop()
    if tag.startswith(f'<g id="{TIP}'):
        _, *facets, text = tag[len('<g id="') : -len('">')].split(TIP)
        named = (each.split("=", 1) for each in facets)
        data = "".join(f' data-{name}="{value}"' for name, value in named)
        ends.append(_END)
        return f"<g{data}><title>{text}</title>"
    if tag.startswith("<g"):
        tag = re.sub(r' id="[^"]*"', "", tag)
        if tag.endswith("/>"):
            return ""
        ends.append("" if tag == "<g>" else "</g>")
        if not ends[-1]:
            return ""
    tag = _UNTURNED.sub("", tag.replace(' version="1.1"', ""))
    tag = _SHAPE.sub(lambda found: _NUMBER.sub(_rounded, found[0]), tag)
    tag = re.sub(r" ?\n(?=[A-Za-z\"])", "", tag)
    return _STYLE.sub(lambda found: f'style="{_style(found[1])}"', tag)


def _joined(text: str) -> str:
    """Make one group of marks that follow each other and say the same: an interval and its mean."""
    first, *rest = _MARK.split(text)
    found, last = [first], ""
    for mark, inside in zip(rest[::2], rest[1::2], strict=True):
        if mark == last and found[-1].endswith(_END):
            found[-1] = found[-1].removesuffix(_END)
        else:
            found.append(mark)
        found.append(inside)
        last = mark
    return "".join(found).replace(_END, "</g>")


def _rounded(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.{_PRECISION}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _style(declarations: str) -> str:
    return _FAMILY.sub("", declarations).replace("; ", ";").replace(": ", ":").strip("; ")


def _renamed(text: str) -> str:
    """Give what is referred to within the figure names that no other figure has."""
    own = "f" + hashlib.sha256(text.encode()).hexdigest()[:8]
    ids = (name for tag in _TAG.findall(text) for name in re.findall(r' id="([^"]+)"', tag))
    names = {name: f"{own}-{place}" for place, name in enumerate(dict.fromkeys(ids))}

    def renamed(tag: re.Match[str]) -> str:
        return re.sub(r'((?: id="|"#|\(#))([^")]+)', lambda m: m[1] + names.get(m[2], m[2]), tag[0])

    return _TAG.sub(renamed, text)
