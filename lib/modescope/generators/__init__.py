"""The only module that knows model families: build, load, denoise, condition, decode, name the layers.

A family owes what `Generator` offers, in a subclass where it differs, and an entry in `FAMILIES`; capture, masks, samplers,
inversion, map and explorer use nothing else of it:

* `denoise` (x, sigma, rows) -> x0, in the network's own space, where sigma is the standard deviation of the noise in x
  (a network on a discrete schedule looks its timestep up, and scales its input itself); differentiable, for inversion;
* `encode` and `decode` between uint8 images and that space (for a latent network: through its autoencoder), `latent_shape`
  of one sample there, `sigma_max` at which sampling starts;
* `num_classes`: how many conditions there are to ask for, 0 for none (classes; text: the prompts of a list);
* `rows` (their numbers) and `blended` (weights over them, see `conditioning`) -> whatever the network is conditioned on, a
  tensor with one row per sample along the first axis and opaque to everybody else (class weights; text: embeddings of the
  prompts, (N, tokens, width), and their weighted means); `unconditional`, one such row, for guidance, where the network
  knows it;
* `network`: a module with at least one parameter, on whose device it lies, which takes float32 and gives float32 back
  whatever the type of its weights (`cast` changes that), and copies with `copy.deepcopy`;
* `layers`: friendly names in execution order => module paths of `network`; each gives (N, C, H, W) or (N, C), runs once a
  pass and calls nothing that an outer layer must see (`prepared` compiles them one by one).

Feature networks that look at clean images (`extractors`) owe less: `encode` and the layer `features`.
"""

from modescope.checkpoints import CheckpointError
from modescope.generators.edm_family import edm_layers, infer_edm_config
from modescope.generators.families import FAMILIES, Family, identity, load_generator, settled_precision
from modescope.generators.generator import SIGMA_MAX, Generator, decode_images, encode_images

__all__ = [
    "FAMILIES",
    "SIGMA_MAX",
    "CheckpointError",
    "Family",
    "Generator",
    "decode_images",
    "edm_layers",
    "encode_images",
    "identity",
    "infer_edm_config",
    "load_generator",
    "settled_precision",
]
