"""Networks that the course trains, and the one loop that trains them (`fit.training_loop`)."""

from .autoencoder import SIZES, StackedAutoencoder, layer_widths
from .faceqgen_training import choose_targets
from .fit import fit_rows, gradient_step, held_out_rows, shuffled, training_loop
from .restorer import COLLAPSED_BELOW, COPIES_BELOW, MEASURES, Health, Restorer, health, similarity_of_structure
from .scnn import CLASSES, DISTORTIONS, SCNN, classify, distort, distorted_patches, pretrain, pretrained
from .unet_gan import Discriminator, Generator, as_images, luminance

__all__ = [
    "CLASSES",
    "COLLAPSED_BELOW",
    "COPIES_BELOW",
    "DISTORTIONS",
    "MEASURES",
    "SCNN",
    "SIZES",
    "Discriminator",
    "Generator",
    "Health",
    "Restorer",
    "StackedAutoencoder",
    "as_images",
    "choose_targets",
    "classify",
    "distort",
    "distorted_patches",
    "fit_rows",
    "gradient_step",
    "health",
    "held_out_rows",
    "layer_widths",
    "luminance",
    "pretrain",
    "pretrained",
    "shuffled",
    "similarity_of_structure",
    "training_loop",
]
