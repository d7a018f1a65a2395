"""How numbers are written to CSV files."""

from pathlib import Path

import numpy as np
import pandas as pd

from gapbench.reports.render.files import put_table


def test_counts_are_whole_and_other_numbers_have_twelve_digits(tmp_path: Path) -> None:
    """Counts keep all their digits, however many; what does not exist is empty."""
    flops = [42480750592.0, 1e15 + 1, 2.0**70, np.nan]
    table = pd.DataFrame({"flops": flops, "score": [0.8649999999999999, 1 / 3, np.nan, 1e-9]})
    put_table(tmp_path / "a.csv", table, ["flops", "absent"])
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "flops,score",
        "42480750592,0.865",
        "1000000000000001,0.333333333333",
        f"{2**70},",
        ",1e-09",
    ]
