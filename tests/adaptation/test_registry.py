"""Settings of a method are validated once for each cell."""

from gapbench.bench.adaptation import registry
from tests.support.small_stack import make_runs


def test_settings_of_equal_cells_are_one_object() -> None:
    """Whoever asks for the settings of a cell gets the object that was validated first."""
    first, second = make_runs("lora", (0,)) + make_runs("lora", (1,))
    method, config = registry.of_cell(first.cell)
    assert method is registry.get("lora")
    assert config.model_dump(mode="json") == first.cell.config
    assert registry.of_cell(second.cell)[1] is config
    (other,) = make_runs("lora", (0,), configs=[{"rank": 3}])
    assert registry.of_cell(other.cell)[1] != config
