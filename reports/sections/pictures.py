"""A figure that draws its own title, as a picture whose title the document sets."""

import pandas as pd
from matplotlib.figure import Figure

from reports.document import Picture


def picture(name: str, figure: Figure) -> Picture:
    """Take the title out of a figure."""
    title = " ".join(figure.texts[0].get_text().split())
    figure.texts[0].remove()
    return Picture(name, title, figure, pd.DataFrame())
