"""The errors a user can meet. Each message says what was wrong, with which file, and what to do about it."""


class FiqaError(ValueError):
    """Base of every error that is about the user's input. The command line prints it without a traceback."""


class ImageError(FiqaError):
    """A file is not a picture that can be used. `path` and `reason` are kept apart for reports."""

    def __init__(self, path, reason):
        self.path, self.reason = str(path), str(reason)
        super().__init__(f"{self.path}: {self.reason}")

    def __reduce__(self):  # two arguments, so the default would not survive a process pool
        return type(self), (self.path, self.reason)


class DataError(FiqaError):
    """A data set, protocol file or table is missing, incomplete or not in its published layout."""


class WeightsError(FiqaError):
    """A file of network weights is missing, of another layout, or not safe to load."""
