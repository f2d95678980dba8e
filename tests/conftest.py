"""What all tests share: hypothesis without deadlines, since machines of continuous integration are slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("concord", deadline=None)
settings.load_profile("concord")
