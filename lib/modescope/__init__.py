"""modescope: what of the real distribution an image generator covers, misses, and makes when asked for a missing part."""

import os

# OpenMP reads it when torch is loaded. Threads that wait for each other spin a thirtieth of the usual time, then they sleep:
# as it is, one busy process beside made a small network take four times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
