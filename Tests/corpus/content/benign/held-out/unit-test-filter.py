import pytest
from filterlib import is_suspicious

@pytest.mark.parametrize("text", [
    "What is the weather today?",
    "Please summarise this article.",
])
def test_ordinary_text_passes(text):
    assert not is_suspicious(text)
