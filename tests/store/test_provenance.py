"""What a record says of the code that made it."""

import importlib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from gapbench.bench.store import provenance


@pytest.mark.parametrize("place", ["outside.py", "outside/__init__.py", "outside/_deep.py"])
def test_methods_of_other_packages_are_part_of_the_code(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of an edited method is one of another version, wherever the method lives."""
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    hashes = [provenance._installed_hash.__wrapped__()]
    entry = EntryPoint("mine", "outside:Mine", "gapbench.methods")
    monkeypatch.setattr(provenance.plugins, "method_entry_points", lambda: [entry])
    monkeypatch.syspath_prepend(tmp_path)
    for content in ("a = 1", "a = 2"):
        path.write_text(content)
        importlib.invalidate_caches()
        hashes.append(provenance._installed_hash.__wrapped__())
    assert len(set(hashes)) == 3
