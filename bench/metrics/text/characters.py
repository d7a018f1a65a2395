"""How the Stanford tokeniser reads each character, before it splits words.

CoreNLP 3.4.1 folds look-alikes, separates symbols and numerals, keeps combining marks in words, and
treats unknown characters as spaces: those added to Unicode after version 6, most quotes and
brackets, and all beyond the basic plane, such as most emoji. The tables come from its output for
every character of the basic plane and a sample of the others.
"""

import re

HYPHENS = "\u058a\u2010\u2011"
"""Hyphens that belong to a word between two letters, besides the ASCII hyphen."""

_FOLDED = {
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT SINGLE QUOTATION MARK}": "`",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{EN DASH}": " -- ",
    "\N{EM DASH}": " -- ",
    "\N{HORIZONTAL ELLIPSIS}": " ... ",
    "\N{POUND SIGN}": " # ",
    "\N{CENT SIGN}": " cents ",
    "\N{SOFT HYPHEN}": "",
    **dict.fromkeys("\N{EURO SIGN}\N{CURRENCY SIGN}\N{EURO-CURRENCY SIGN}\x80", " $ "),
    **dict(zip("¼½¾⅓⅔", (" 1/4 ", " 1/2 ", " 3/4 ", " 1/3 ", " 2/3 "), strict=True)),
}
_SYMBOLS = re.compile(
    "[\xa1-\xa9\xac-\xb8\xbf-\xf7\u037e\u0387\u0589\u05be\u05c0\u05c3\u05c6\u05f3-\u0603"
    "\u0606-\u060c\u0614\u061b\u061e\u061f\u066a\u066d\u06d4\u0700-\u070d\u07f6-\u07f8\u0964"
    "\u0965\u0e3f\u0e4f\u1fbd\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042"
    "\u2044\u207a-\u208e\u20a4\u2100-\u214f\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uffe1"
    "\uffe5\uffe6]"
)
_NUMERALS = re.compile("[²³¹⁰⁴-⁹₀-₉⅕-⅞\u2460-\u2793]")
_MARKS = re.compile(
    "[\u02c2-\u0375\u0384\u0385\u03f6\u0483-\u0487\u055a-\u055f\u0591-\u05bd\u05bf\u05c1"
    "\u05c2\u05c4\u05c5\u05c7\u0615-\u061a\u064b-\u065e\u0670\u06d6-\u06fe\u070f-\u07f3"
    "\u0900-\u0903\u093c-\u094e\u0951-\u0955\u0962\u0963\u0981-\u09e3\u0a01-\u0a4d"
    "\u0a81-\u0acd\u0b82-\u0bcd\u0c01-\u0c03\u0c3e-\u0c56\u0d3e-\u0d48\u0e31-\u0e3a"
    "\u0e47-\u0e4e\u0eb1-\u0ecd\u1885\u1886]"
)
_UNKNOWN_LETTERS = re.compile(
    "[\u037f\u0528-\u052f\u0560\u0588\u05ef\u0860-\u088e\u08a1\u08ad-\u08c9\u0978\u0980"
    "\u09f4-\u09fc\u0af9\u0b72-\u0b77\u0bf0-\u0bf2\u0c34\u0c5a-\u0c5d\u0c78-\u0c80\u0cdd"
    "\u0d04\u0d54-\u0d5f\u0d70-\u0d78\u0de6-\u0def\u0e86\u0e89\u0e8c\u0e8e-\u0e93\u0e98\u0ea0"
    "\u0ea8\u0ea9\u0eac\u0f2a-\u0f33\u1369-\u137c\u13f5-\u13fd\u16ee-\u16f8\u170d\u171f"
    "\u17f0-\u17f9\u1878\u191d\u191e\u19b0-\u19c0\u19c8\u19c9\u19da\u1b4c\u1c80-\u1cbf\u1cf2"
    "\u1cf3\u1cfa\u2150-\u2152\u215f-\u2182\u2185-\u2189\u2c2f\u2c5f\u2cfd\u3007-\u3029"
    "\u3038-\u303a\u312e\u312f\u3192-\u3195\u31bb-\u31bf\u3220-\u32bf\u4db6-\u4dbf"
    "\u9fcd-\u9fff\ua698-\ua69d\ua6e6-\ua6ef\ua78f\ua794-\ua79f\ua7ab-\ua7f7\ua830-\ua835"
    "\ua8fd\ua8fe\ua9e0-\ua9fe\uaa7e\uaa7f\uab30-\uabbf\U00010000-\U0010ffff]"
)
# `re` does not treat marks as letters, so letters of an unknown plane stand in for them.
_PLANE = 0x20000
_INNER_HYPHEN = re.compile(rf"(?<=\w)[{HYPHENS}](?=\w)")


class _Folding(dict[int, str]):
    """The reading of each character, computed on first use."""

    def __missing__(self, code: int) -> str:
        self[code] = read = _reading(chr(code))
        return read


def _reading(character: str) -> str:
    if character in _FOLDED:
        return _FOLDED[character]
    if character.isascii():
        return character if character.isprintable() else " "
    if _NUMERALS.match(character):
        return f" {character} "
    if character.isalnum():
        return " " if _UNKNOWN_LETTERS.match(character) else character
    if _MARKS.match(character):
        return chr(_PLANE + ord(character))
    return character if _SYMBOLS.match(character) or character in HYPHENS else " "


_FOLDING = _Folding()
_UNFOLDING = {_PLANE + code: code for code in range(0x80, 0x2100)}


def folded(text: str) -> str:
    """Return a text as the tokeniser reads it, with stand-in letters for marks and hyphens."""
    text = text.translate(_FOLDING)
    return _INNER_HYPHEN.sub(lambda hyphen: chr(_PLANE + ord(hyphen[0])), text)


def unfolded(token: str) -> str:
    """Return a token of a folded text with its original marks and hyphens."""
    return token.translate(_UNFOLDING)
