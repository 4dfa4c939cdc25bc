"""Face image quality assessment (FIQA): every important method as a scorer, an evaluation engine, and a course.

Three lines from a photograph to a score:

    import fiqa_lib as fq
    faces = fq.load_faces("photograph.jpg")
    print(fq.create_scorer("distilled").score_samples(faces))

Rooms, from the bottom: `fiqa_lib.faces`, `fiqa_lib.transforms`, `fiqa_lib.data`, `fiqa_lib.recognition`,
`fiqa_lib.evaluation`, `fiqa_lib.features`, `fiqa_lib.networks`, `fiqa_lib.labels`, `fiqa_lib.scorers` (one module for
each method), `fiqa_lib.components`, `fiqa_lib.course`, `fiqa_lib.apps`. The course begins at
notebooks/00_setup_and_tour.ipynb.
"""

from .errors import DataError, FiqaError, ImageError, WeightsError

__version__ = "0.2.0"
__all__ = ["DataError", "FiqaError", "ImageError", "WeightsError", "create_scorer", "list_methods", "load_faces"]


def list_methods():
    """The names of all quality methods, for `create_scorer`.

    Returns
    -------
    list of str
        In alphabetical order.
    """
    from .scorers import SCORERS

    return sorted(SCORERS)


def create_scorer(name, *, recogniser=None, weights=None, model=None, **parameters):
    """A quality method by name, ready to score.

    A method that learns is fitted on the bundled faces at the first call, which takes seconds to minutes; what it
    learned is kept in the cache.

    Parameters
    ----------
    name : str
        One of `list_methods()`.
    recogniser : str or Recogniser, default=None
        The network that the method asks, where it asks one: "dlib", "mobilefacenet", "arcface-r50", ... None: the
        method's own.
    weights : path, default=None
        The file of the recogniser's weights, where it needs one.
    model : path, default=None
        What a method that learns has learned, as `Scorer.save` writes it. None: fit it, or take it from the cache.
    **parameters
        The method's own parameters.

    Returns
    -------
    Scorer
        `score_samples(faces)` gives an array of floats. Higher is better, always.

    Raises
    ------
    DataError
        There is no such method, or no such parameter. Names those there are.
    """
    from .apps.photographs import make_scorer

    return make_scorer(name, parameters, recogniser=recogniser, weights=weights, model=model)


def load_faces(path, **options):
    """The aligned faces of a photograph or of a folder.

    Parameters
    ----------
    path : path
        An image file, whose largest face is taken; or a folder, laid out as identity/photograph.jpg where identities
        matter. Of a folder, files without a face are left out: `fiqa_lib.data.load_folder` reports each of them.
    **options
        Further arguments of `fiqa_lib.data.load_folder`, such as `detector` and `aligned`.

    Returns
    -------
    Faces
        `images` (N, 192, 192, 3) uint8 RGB, `identities`, `names`, `attributes`.

    Raises
    ------
    DataError
        The path is missing, or no face was found.
    ImageError
        The file is not a picture that can be read.
    """
    from pathlib import Path

    from .data import load_files, load_folder

    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if path.is_dir():
        loaded = load_folder(path, **options)
    else:
        loaded = load_files([path], **{key: value for key, value in options.items() if key != "id_key_index"})
    if not path.is_dir() and loaded.report["status"][0] == "error":
        raise ImageError(path, loaded.report["reason"][0])
    if len(loaded.faces) == 0:
        raise DataError(f"{path}: no face was found; give a photograph in which a face is at least 40 pixels wide")
    return loaded.faces
