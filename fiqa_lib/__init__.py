"""What the face image quality course builds by hand, tested and fast. Start at notebooks/00_setup_and_tour."""

__version__ = "0.1.0"
