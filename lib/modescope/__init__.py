"""modescope: what of the real distribution an image generator covers, misses, and makes when asked for a missing part."""

import os

# OpenMP reads it when torch is loaded. Threads that spin while they wait for each other take the processor from whoever else
# works on the machine, and then wait for them: beside one busy process a small network took four times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
