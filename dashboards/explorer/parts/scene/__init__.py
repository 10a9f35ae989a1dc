"""The map: points of real and generated images, a second map beside it, what is picked and made on them."""

from .scene import Scene

__all__ = ["Scene"]
