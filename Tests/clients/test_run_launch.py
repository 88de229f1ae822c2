"""The launch of a debug build, beside a bare unshare; release.py holds a release to its bar."""
import os

import pytest

from launches import beyond_a_bare_unshare

# In milliseconds, on a machine that does other things too.
LOOSE_MS = 120

if os.geteuid() != 0:
    pytest.skip("starting as another user takes root", allow_module_level=True)


@pytest.mark.figures
def test_a_launch_is_not_far_beyond_a_bare_unshare():
    assert beyond_a_bare_unshare(os.environ["SLUICE"]) < LOOSE_MS
