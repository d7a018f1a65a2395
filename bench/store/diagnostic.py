"""Diagnostics: how reports draw the values that a method stores about its runs.

A method declares them and its records contain them, so a report needs neither its code nor torch.
"""

from typing import Literal

from gapbench.bench.core.schema import FrozenModel


class Diagnostic(FrozenModel):
    """The drawing of one value that a method stores in the `notes` of its records.

    Attributes:
        kind: "selection" draws which entries a run selected, "kept" a number for every layer as a
            heatmap, "profiles" a falling list of numbers for every layer as lines.
        field: key of the value in the notes. A selection is a list, the others are a mapping from
            the names of layers to a number or a list of numbers.
        figure: begins the names of the figure's files: letters, digits, "-" and "_".
        title: begins the figure's title, as in "Rank that each layer keeps after training".
        noun: of one entry or number, as in "block" or "rank".
        caption: a sentence that explains the sizes of marks, or the lines of profiles.
        entries: for a selection, key of the list of all entries.
        sizes: for a selection, key of a list with the size of the mark of every entry.
    """

    kind: Literal["selection", "kept", "profiles"]
    field: str
    figure: str
    title: str
    noun: str = ""
    caption: str = ""
    entries: str = ""
    sizes: str = ""

    @property
    def only_drawn(self) -> set[str]:
        """Keys of the notes that no table repeats, since they hold too many numbers."""
        return {self.entries, self.sizes} if self.kind == "selection" else {self.field}


class Drop(FrozenModel):
    """One place in which a method drops something in training, with its settings resolved.

    Attributes:
        position: names the place.
        label: the place in a few words.
        rate: share that is dropped, above 0.
        pattern: which entries are dropped together; "" if each by itself.
    """

    position: str
    label: str
    rate: float
    pattern: str = ""
