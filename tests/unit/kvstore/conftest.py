"""Two nodes, of which n1 leads and has stored a key; a test file that tells of others has fixtures of its own."""

from __future__ import annotations

import pytest
from unit.kvstore.story import Story, StoryNode


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    n1 = story.lead()
    n1.put("w", b"k", b"v")
    story.settle()
    return n1
