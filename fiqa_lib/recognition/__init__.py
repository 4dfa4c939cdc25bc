"""Recognisers: networks that turn an aligned face into an embedding."""

from .base import TorchRecogniser
from .dlib_resnet import DlibResNet

__all__ = ["DlibResNet", "TorchRecogniser"]
