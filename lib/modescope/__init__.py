"""modescope: what of the real distribution an image generator covers, misses, and makes when asked for a missing part."""
