"""What must never run."""

from __future__ import annotations

import os


class Evil:
    """Unpickling this runs a command that makes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.system, (f"touch '{self.target}'",))
