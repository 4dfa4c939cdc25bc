"""The committed tables of the protocol's benchmarks, for lessons and for who wants a number without a run.

`fiqa benchmark --data lfw --out data/results/lfw` and `--data orl-d` write them; the wheel brings them along.
"""

from __future__ import annotations

import pandas as pd

from ..cache import ROOT
from ..errors import DataError
from ..weights import packaged_file

BENCHMARKS = ("orl-d", "lfw")
PACKAGE = "fiqa-lib"
TEXT = {"network", "reason"}
"""Columns of text, which may be empty."""


def table(benchmark="lfw", name="table"):
    """A committed table.

    Parameters
    ----------
    benchmark : {"orl-d", "lfw"}, default="lfw"
        Which benchmark.
    name : str, default="table"
        "table" (a row for each method, network, verifier and limit), "winner", "flattery", "differences";
        "calibration" of LFW; "families" (leave-family-out) of ORL-D.

    Returns
    -------
    DataFrame
        Empty text is "", not NaN, in the columns `network` and `reason`.

    Raises
    ------
    DataError
        There is no such benchmark, or no such table was committed. The message has the command that makes it.
    """
    if benchmark not in BENCHMARKS:
        raise DataError(f"benchmark must be one of {', '.join(BENCHMARKS)}, not {benchmark!r}")
    place = ROOT / "data" / "results" / benchmark / f"{name}.csv"
    if not (ROOT / "pyproject.toml").is_file():
        place = packaged_file(PACKAGE, f"share/fiqa_lib/results/{benchmark}/{name}.csv")
    try:
        read = pd.read_csv(place, dtype=dict.fromkeys(TEXT, str))
    except OSError as error:
        command = f"python -m fiqa_lib benchmark --data {benchmark} --out data/results/{benchmark}"
        raise DataError(f"{place}: there is no such table; make it by {command}") from error
    return read.fillna(dict.fromkeys(TEXT & set(read), ""))


def row(benchmark, method, *, verifier="dlib", network=None, limit=0.2):
    """One row of the main table.

    Parameters
    ----------
    benchmark : {"orl-d", "lfw"}
        Which benchmark.
    method : str
        As `SCORERS` names it, or "random".
    verifier : str, default="dlib"
        The network that verifies.
    network : str, default=None
        The network that the method is made of. None: dlib where the method was run with several.
    limit : float, default=0.2
        Where the area ends: 0.05, 0.2 or 0.3.

    Returns
    -------
    Series
        `oracle_scaled`, `low`, `high`, `normalised`, `starting_error`, `difference`, `p_holm`, `verdict` and so on.

    Raises
    ------
    DataError
        There is no such row; or the method could not be run, and the message has the reason.
    """
    read = table(benchmark)
    of_method = read[read["method"] == method]
    if not len(of_method):
        raise DataError(f"{benchmark}: no method {method!r}; there are {', '.join(sorted(set(read['method'])))}")
    if network is not None:
        of_method = of_method[of_method["network"] == network]
    elif of_method["network"].nunique() > 1:
        of_method = of_method[of_method["network"] == "dlib"]
    if len(of_method) and (of_method["status"] != "ok").all():
        raise DataError(f"{benchmark}: {method} has no numbers: {of_method['reason'].iloc[0]}")
    found = of_method[(of_method["verifier"] == verifier) & (of_method["limit"].sub(limit).abs() < 1e-9)]
    if not len(found):
        raise DataError(
            f"{benchmark}: {method} has no row for verifier {verifier!r}, network {network!r}, limit {limit}"
        )
    return found.iloc[0]
