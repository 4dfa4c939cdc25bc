"""CR-FIQA: a recogniser that also learned to say how well a face can be told from others (Boutros et al. 2023)."""

from __future__ import annotations

import torch

from ..errors import DataError
from ..recognition import IResNet, as_recogniser
from .base import Scorer, register


@register("cr-fiqa")
class CRFIQA(Scorer):
    """Quality that CR-FIQA's network predicts beside its embedding; needs the authors' file of weights.

    Source: Boutros, Fang, Klemt, Fu, Damer, CR-FIQA: face image quality assessment by learning sample relative
    classifiability, CVPR 2023. While an IResNet learns to recognise with ArcFace's loss, one linear unit (`qs`) learns
    the certainty ratio of each training face from its embedding: the cosine to its own class centre over that to the
    nearest other one (`labels.cr_fiqa`). The score is the unit's output; on training faces it lies near the ratio.

    **Faithful**: as the authors' test code (`evaluation/QualityModel.py`): 112x112, RGB, (pixel - 127.5) / 127.5, the
    embedding after its batch norm, one linear unit, no further scaling. Their script says BGR: it reads with OpenCV
    pictures whose channels their extraction had swapped, so that the network sees RGB. **Changed**: the crop is cut
    from the canonical one, by the same five-point template; nothing is trained here. **Blind**: not measured in this
    course, which can't ship the weights. By its definition it sees what makes recognition uncertain for this network,
    not what looks bad; and a network knows only what its training photographs showed.

    Parameters
    ----------
    recogniser : Recogniser, default=None
        An `IResNet` whose file holds the unit: `load_recogniser("cr-fiqa", FILE)`. None: `weights` are read.
    weights : path, default=None
        The authors' file, for example 181952backbone.pth (L) or 32572backbone.pth (S).
    depth : {18, 34, 50, 100}, default=None
        The network's depth, with `weights`. None: that of the file (100 for L, 50 for S).
    """

    needs_weights = "cr-fiqa"
    cost = "one embedding; needs its weights"

    def __init__(self, recogniser=None, weights=None, depth=None):
        self.recogniser = recogniser
        self.weights = weights
        self.depth = depth

    def _network(self):
        """The recogniser with its linear unit."""
        if self.recogniser is None:
            asked = (str(self.weights), self.depth)
            if getattr(self, "_read", (None,))[0] != asked:
                self._read = asked, IResNet(self.weights, "cr-fiqa", self.depth)
            recogniser = self._read[1]
        elif self.weights is not None:
            raise DataError("cr-fiqa takes a recogniser or weights, not both: leave one out")
        else:
            recogniser = as_recogniser(self.recogniser)
        if getattr(recogniser, "quality", None) is None:
            raise DataError(
                f"{recogniser.name} holds no layers qs.weight and qs.bias, with which CR-FIQA predicts quality: "
                "--weights takes the file of CR-FIQA's authors, in Python load_recogniser('cr-fiqa', FILE)"
            )
        return recogniser

    def _score(self, images, faces):
        recogniser = self._network()
        with torch.inference_mode():
            embeddings = torch.from_numpy(recogniser.embed(images)).to(recogniser.device)
            return recogniser.quality(embeddings)[:, 0].cpu().numpy()
