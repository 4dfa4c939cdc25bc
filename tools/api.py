"""The API pages of the book, from the library's docstrings: pdoc makes them, and they fetch nothing."""

import pkgutil
import warnings
from pathlib import Path

import fiqa_lib


def build(out):
    """Write build/book/api: a page for each module with its public names, signatures and docstrings, and a search.

    Parameters
    ----------
    out : Path
        The folder of the pages.

    Returns
    -------
    Path
        The first page.
    """
    import pdoc  # slow to import, and only needed here

    options = {"docformat": "numpy", "show_source": False, "search": True}
    pdoc.render.configure(**options, footer_text=f"fiqa_lib {fiqa_lib.__version__}")
    modules = [module.name for module in pkgutil.walk_packages(fiqa_lib.__path__, "fiqa_lib.")]
    modules = [name for name in modules if "exercises" not in name and not name.endswith("__main__")]
    with warnings.catch_warnings():  # annotations that only type checkers can resolve
        warnings.simplefilter("ignore")
        pdoc.pdoc("fiqa_lib", *modules, "!fiqa_lib.course.exercises", output_directory=Path(out))
    return Path(out) / "fiqa_lib.html"
