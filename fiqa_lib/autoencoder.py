"""Moved."""

from .networks.autoencoder import SCALINGS, SIZES, StackedAutoencoder, layer_widths  # noqa: F401
from .networks.fit import fit_rows as train_module  # noqa: F401
from .networks.fit import held_out_rows  # noqa: F401
