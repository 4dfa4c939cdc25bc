"""The protocol on LFW's choose people, for three cheap scores and their calibration: what it costs and what it says.

Run with `FIQA_LFW=FOLDER python benchmarks/bench_protocol.py [--role choose] [--draws 2000] [--all-pairs]`. FOLDER
holds `images/NAME/NAME_0001.jpg`, or any layout of `data.load_lfw`. The first run detects faces (about 27 photographs a
second). Verified by dlib's network (cosine, not centred) and MobileFaceNet, if that is here; the reference is the
detector's score. Without FIQA_LFW nothing is measured.
"""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from fiqa_lib.data import load_lfw_people  # noqa: E402
from fiqa_lib.data.lfw import PER_PERSON  # noqa: E402
from fiqa_lib.errors import WeightsError  # noqa: E402
from fiqa_lib.evaluation import protocol  # noqa: E402
from fiqa_lib.evaluation.calibration import Calibration, expected_calibration_error, non_match_shares  # noqa: E402
from fiqa_lib.faces.mtcnn import Mtcnn  # noqa: E402
from fiqa_lib.recognition import load_recogniser  # noqa: E402
from fiqa_lib.scorers import SCORERS  # noqa: E402

REFERENCE = "detector-score"
SECONDS = {}
"""What was done -> how long it took."""


def timed(what, function, *arguments, **options):
    """The function's result; its time goes to `SECONDS`."""
    start = time.perf_counter()
    result = function(*arguments, **options)
    SECONDS[what] = time.perf_counter() - start
    return result


def networks():
    """Name -> recogniser, of those that are here."""
    found = {}
    for name in ("dlib", "mobilefacenet"):
        try:
            found[name] = load_recogniser(name)
        except WeightsError as error:
            print(f"without {name}: {error}")
    return found


def calibrated(material, scores, similarities, support):
    """Expected calibration error and shares of each score: fitted on half of the people, judged on the other half."""
    people = np.unique(material.people)
    first = np.isin(material.people, np.random.default_rng(0).permutation(people)[: len(people) // 2])
    threshold = support.set_index("network")["threshold"]
    rows = []
    for name, values in scores.items():
        outcomes = [non_match_shares(values, material.pairs, s, threshold[net]) for net, s in similarities.items()]
        outcome = np.mean(outcomes, axis=0)
        made = Calibration().fit(values[first], outcome[first])
        others, came = values[~first], outcome[~first]
        row = {"method": name, "ece": expected_calibration_error(made.chance(others), came)}
        row |= {f"share {s:.0%}": np.mean(others < made.threshold_for(share=s)) for s in (0.05, 0.2, 0.3)}
        rows.append(row | {"faces": int((~np.isnan(came)).sum())})
    return pd.DataFrame(rows)


def rows():
    """Seconds of each step, for `benchmarks/run.py`; none without LFW."""
    if "FIQA_LFW" not in os.environ:
        return []
    main([])
    return [{"name": what, "value": seconds, "unit": "s"} for what, seconds in SECONDS.items()]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", default="choose", choices=protocol.ROLES)
    parser.add_argument("--draws", type=int, default=protocol.DRAWS)
    parser.add_argument("--all-pairs", action="store_true", help="all mated pairs, not at most 45 of a person")
    options = parser.parse_args(arguments)
    if "FIQA_LFW" not in os.environ:
        sys.exit("FIQA_LFW names no folder with LFW's photographs; nothing is measured")
    most = None if options.all_pairs else PER_PERSON
    material = timed(
        "detection", load_lfw_people, os.environ["FIQA_LFW"], options.role, per_person=most, detector=Mtcnn()
    )
    mated = int(material.pairs.mated.sum())
    print(protocol.describe("lfw", options.role))
    print(
        f"{len(material.names)} photographs, {len(material.faces)} faces, {mated} mated pairs of "
        f"{len(np.unique(material.people))} people, {len(material.pairs.mated) - mated} impostor pairs"
    )
    similarities = {}
    for name, network in networks().items():
        embeddings = material.spread(timed(f"embeddings of {name}", network.embed, material.faces), np.nan)
        similarities[name] = timed(
            f"similarities of {name}", protocol.similarities, embeddings, material.pairs, network.similarity_of
        )
    scores, own = {}, {}
    for name, parameters in (
        (REFERENCE, {}),
        ("sharpness", {}),
        *(("embedding-norm", {"recogniser": network}) for network in similarities),
    ):
        network = parameters.get("recogniser")
        called = f"{name} ({network})" if network else name
        values = timed(called, SCORERS[name](**parameters).score_samples, material.faces)
        scores[called] = material.spread(values, -np.inf)
        if network:
            own[called] = network
    given = scores, material.pairs, similarities, material.people
    made = timed("judge", protocol.judge, *given, reference=REFERENCE, own=own, draws=options.draws)
    winner = timed("out-of-bag winner", protocol.out_of_bag_winner, *given)
    with pd.option_context("display.width", 200, "display.max_columns", 30, "display.precision", 3):
        print(made.support.to_string(index=False))
        print(made.side_by_side().to_string(index=False))
        by_network = made.table.query("column not in ['same model', 'cross model'] and limit == 0.2")
        shown = ["method", "column", "oracle_scaled", "low", "high", "normalised", "oracle_normalised"]
        print(by_network[shown + ["starting_error", "difference", "p_holm", "verdict"]].to_string(index=False))
        print(made.flattery.query("limit == 0.2").to_string(index=False))
        print(winner.to_string(index=False))
        print(calibrated(material, scores, similarities, made.support).to_string(index=False))
        print(pd.Series(SECONDS, name="seconds").to_string())


if __name__ == "__main__":
    main()
