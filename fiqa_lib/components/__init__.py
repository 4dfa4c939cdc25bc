"""Component measures in the style of ISO/IEC 29794-5: what is wrong with a portrait, each property from 0 to 100.

A unified score says *how* good a picture is; a component says *what* to do about it. For each component a **raw** value
is measured (its native unit), mapped to a **scalar** 0..100 by a published function (`to_scalar`), and turned into
advice where the scalar is low (`message`). -1 means: could not be assessed.

Source: definitions and mapping parameters of ISO/IEC 29794-5:2025 and of its open reference implementation OFIQ (German
Federal Office for Information Security).

- **Faithful**: the mapping functions and their parameters, for all components of the standard; linear luminance (sRGB
  decoded, Rec. 709 weights); the geometry of the aligned face (eyes 113 px apart); zones, histogram limits, CIELAB with
  white D50.
- **Changed**: 68 landmarks instead of 98 (two pairs of lid points for each eye instead of three); the face region is
  their convex hull, since no network here cuts out what covers the face; alignment by least squares; head pose by six
  points and a mean head (`masking.head_pose`) instead of a network. The left and right margins are those of the eye on
  that side; OFIQ's code takes the other eye, so its raw values are larger by about 1. `SingleFacePresent` is a ratio of
  areas; OFIQ's code takes its square root. Borders are half a pixel beyond the first and last pixel's centre.
- **Left out**: what needs a trained model that is not bundled (`COMPONENTS[name].needs`). Three of these have the
  nearest honest measure under a name of its own: `BlurEffect`, `BlockEffect`, `BackgroundEdges` (`own` is True).
- **Blind**: the standard names no limits below which a picture is refused. The `limit` below which there is a message
  is this course's: where the published curve passes 50; 20 degrees for the head pose; 5 for the head's size, whose
  published curve contradicts those of the margins.

`maps` holds the components, their mappings and messages, and needs no picture; `measures` looks at pictures.
"""

from .maps import COMPONENTS, PROXIES, Component, coverage, message, round_half_away, to_scalar, to_scalars
from .measures import ALIGNED, MEASURED, NO_FACE, Portrait, blocks, blur, luminance, measure, measure_faces

__all__ = [
    "ALIGNED",
    "COMPONENTS",
    "MEASURED",
    "NO_FACE",
    "PROXIES",
    "Component",
    "Portrait",
    "blocks",
    "blur",
    "coverage",
    "luminance",
    "measure",
    "measure_faces",
    "message",
    "round_half_away",
    "to_scalar",
    "to_scalars",
]
