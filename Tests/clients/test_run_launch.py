"""The launch of a debug build, beside bubblewrap; release.py measures a release."""
import os

import pytest

from launches import times_bubblewrap

if os.geteuid() != 0:
    pytest.skip("starting as another user takes root", allow_module_level=True)


@pytest.mark.figures
def test_a_launch_is_not_far_beyond_bubblewraps():
    """7 to 10 times were seen."""
    assert times_bubblewrap(os.environ["SLUICE"]) < 40
