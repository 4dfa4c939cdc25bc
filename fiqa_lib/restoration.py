"""Moved."""

from .networks.faceqgen_training import (  # noqa: F401
    AS_HANDED_IN,
    BALANCE,
    CHECKPOINT_EVERY,
    HISTORY,
    SEVERITIES,
    WARM_UP,
    GanTraining,
    choose_targets,
    chosen_device,
)
from .networks.restorer import (  # noqa: F401
    COLLAPSED_BELOW,
    COPIES_BELOW,
    MEASURES,
    Health,
    Restorer,
    RestorerParameters,
    health,
    similarity_of_structure,
)
from .networks.unet_gan import (  # noqa: F401
    WINDOW,
    Discriminator,
    Generator,
    adversarial_loss,
    as_images,
    canonical,
    discriminator_loss,
    embed_luma,
    identity_loss,
    luminance,
)
