"""A deadline is a request to end, as a signal is."""

import pytest

from gapbench.bench.core import signals


def test_deadline_is_heeded_once_it_has_passed_and_not_after_its_block() -> None:
    """The nearest of nested deadlines counts; none means none."""
    with signals.until(None):
        assert not signals.has_deadline()
        with signals.until(1000.0):
            assert signals.has_deadline()
            assert not signals.asked()
            signals.check()
            with signals.until(0.0):
                assert signals.past_deadline()
                with pytest.raises(signals.Stopped, match="the time budget is over"):
                    signals.check()
            assert not signals.asked()
    assert not signals.has_deadline()
