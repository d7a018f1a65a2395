"""Penn Treebank tokens of a sentence, as in the caption metrics.

coco-caption splits hypotheses and references with the Stanford tokeniser (CoreNLP 3.4.1,
lower-cased) and drops punctuation before it computes ROUGE-L, CIDEr and METEOR. That tokeniser
needs Java. This file implements its documented conventions in Python, fitted to its output on the
references of E2E, WebNLG and DART; `bench.metrics.text.characters` holds its reading of single
characters. Other metrics split text in other ways.

Deviations: of the texts of those three sets, 1 of 51,240, 61 of 25,213 and 28 of 16,232 come out
differently. Most end in a single letter and a full stop, which the original assigns to either side
depending on the next line of its file. The rest are HTML attributes and rarer abbreviations. Of 79
further lines made up of rare forms, 9 come out differently: y'all, ol', 'tis with a curly
apostrophe, don`t with a grave accent, #topic_1, (555), escaped tags such as &lt;b&gt;, attributes,
and Ph.D. at the end of a line.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gapbench.bench.metrics.text.characters import HYPHENS, folded, unfolded

_DROPPED = frozenset([*"'`\".?!,:;", *HYPHENS, "..."])

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_ENTITIES = {"&quot;": '"', "&apos;": "'", "&amp;": "&", "&lt;": "<", "&gt;": ">", "&nbsp;": " "}

# Words that keep their full stop in any case, and states, which must be capitalised because most
# are also ordinary words.
_ABBREVIATIONS = """
    mr mrs ms messrs dr prof rev gen sen rep gov lt col capt cpl sgt maj cmdr adm pres hon st ste jr
    sr esq inc co corp ltd plc bros cos assn dept univ mfg intl natl jan feb mar apr jun jul aug sep
    sept oct nov dec mon tue tues wed thu thurs fri ave blvd rd ct mt ft sq etc al vs cf est ext tel
    adv elec ind ph alex jos wm
"""
_STATES = """
    Ala Ariz Ark Calif Colo Conn Del Fla Ga Ill Kan Ky La Mass Md Mich Minn Miss Mo Mont Neb Nev
    Okla Ore Pa Penn Tenn Tex Va Vt Wash Wis Wisc Wyo
"""
_BEFORE_NUMBERS = "no nos fig op pp ca"
# After a single letter these words open a sentence, so the full stop does not belong to the letter.
_OPENERS = """
    A After An As At But He However If In It Many One Our She Since So Some That The There These
    They This We What When While Who You
"""


def _any_of(words: str) -> str:
    return "|".join(words.split())


_WORD = re.compile(
    rf"""
      </?[A-Za-z][^\s<>]*>                                      # tag
    | (?:https?://|www\.)[^\s"<>|()]*[^\s"<>|.,;:!?(){{}}]         # address of a page
    | [\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)+                          # address of a mailbox
    | (?<!\w)(?:c\+\+ | [cf]\#)                                 # languages
    | [@\#][a-z_]\w*                                            # name or topic
    | (?-i:[<>]?[:;=][-o*']?[()DPdpO\\{{@|\[\]])(?!\w)          # :-)
    | \([-^x=~<>'][_.-]?[-^x=~<>']\) | [-^x=~<>']_[-^x=~<>']      # (^_^)
    | (?-i:[A-Z]+)\$                                            # US$
    | &(?:\#\d+|[aeiou](?:acute|grave|uml));                    # entity
    | \d+\N{{FRACTION SLASH}}\d+
    | n't\b | 'n' | '(?:s|re|ve|ll|d|m|t|n|em|cause|[2-9]0s)\b  # clitics, 'em, '90s
    | (?:[dlo]|(?-i:[A-HJ-XZn]))'[^\W\d_]{{2,}}                 # O'Neil, d'oeuvre
    | [^\W\d_]*[aeiou]'[aeiou][^\W\d_]*                         # ma'am
    | [^\W\d_](?=\.\s+(?-i:{_any_of(_OPENERS)})\b)
    | (?:[^\W\d_]+-)*(?:[^\W\d_]\.)+(?:[^\W\d_]+\b)?(?:-\w+)*   # U.S., U.S.-based, A.S.Roma
    | (?:{_any_of(_ABBREVIATIONS)}|(?-i:{_any_of(_STATES)}))\.(?!\w)
    | (?:{_any_of(_BEFORE_NUMBERS)})\.(?=\s*\d)
    | [^\W\d_][\w-]*\w\.(?=[,;:])                               # a stop before a comma abbreviates
    | [^\W\d_]+,[^\W\d_]+-[^\W_]+(?:-[^\W_]+)*                  # french,family-friendly
    | [^\W\d_]+(?:[.!?][^\W\d_]+)+(?:-\w+)*                     # city.It: no space, no cut
    | (?-i:[A-Z]+&[A-Z]+)\b                                     # A&W
    | (?:(?<!\w)-|\+)?\d+(?:[.,:]\d+)+(?:-\w+)*          # -1,000.5
    | (?:(?<!\w)-|\+)?[.,:]\d+                                  # .5
    | \d+(?:-\d+)+(?![\w/-])                                    # 20-25
    | (?:\w+(?:-\w+)*/){{1,2}}\w+(?:-\w+)*                      # and/or, 3/5, 4/5-rated
    | (?:(?:(?<!\w)-|\+)(?=\d))?\w+(?:-\w+)*                        # any other word or number
    | \.{{3}} | --+ | [?!]{{2,}} | \*+ | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)

# If one run of letters is two words, a space is put between them first.
_JOINTS = re.compile(
    r"""
      (?<=[\w.])(?=(?:n't|'(?:s|re|ve|ll|d|m))(?!\w))           # do|n't, it|'s
    | (?<=\bcan)(?=not\b) | (?<=\bgim)(?=me\b) | (?<=\blem)(?=me\b)
    | (?<=\bgon)(?=na\b) | (?<=\bgot)(?=ta\b) | (?<=\bwan)(?=na\b)
    | (?<=\brock)(?='n) | (?<=\brock'n')(?=roll)
    | (?<='t)(?=(?:is|was)\b)
    """,
    re.VERBOSE | re.IGNORECASE,
)

# An underscore is part of a word between two letters or digits.
_UNDERSCORES = re.compile(
    r"(?<![\w@#/.:-])_+(?=[^\W_]) | (?<=[^\W_])_+(?![\w@]) | (?<=[^\W_])__+(?=[^\W_])", re.VERBOSE
)


@lru_cache(maxsize=2**16)
def words(text: str) -> tuple[str, ...]:
    """Return the lower-cased words of a text, without punctuation.

    Brackets stay, as `-lrb-` and so on, because coco-caption's list of punctuation has them in
    capitals and misses them.

    Args:
        text: one hypothesis or reference; line breaks count as spaces.
    """
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    text = _UNDERSCORES.sub(r" \g<0> ", folded(text))
    tokens = _WORD.findall(_JOINTS.sub(" ", text))
    lowered = (unfolded(_bracketed(token)).lower() for token in tokens)
    return tuple(token for token in lowered if token.strip("-") and token not in _DROPPED)


def _bracketed(token: str) -> str:
    """Return a token with its brackets spelled out; in a smiley, only round brackets."""
    return _BRACKETS.get(token) or token.replace("(", "-lrb-").replace(")", "-rrb-")
