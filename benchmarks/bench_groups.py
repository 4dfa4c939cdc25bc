"""Groups of LFW's report people: how many of each a quality threshold discards, and how often recognition fails.

Run with `FIQA_LFW=FOLDER python benchmarks/bench_groups.py --write`: the table goes to benchmarks/measured/groups.csv,
which lesson 20 reads. LFW has no labels of groups. What photographs allow us to measure:

- **lightness**: thirds of the *people* by the median CIE L* of their cheeks. It holds light and camera as well as skin.
- **own light**: each person's darkest against lightest photograph, the control: the skin is the same.
- **pose**: thirds of the *photographs* by how far the nose lies from the middle of the eyes. A pair belongs to its
  photograph that is turned more.
- **mask**, **sunglasses**: drawn on one photograph of each person, compared with the same photograph as it was. The
  other photograph of the pair is left alone.

One quality threshold for all (20% of the photographs lie below it), one decision threshold for all (FMR 1e-3 on the
protocol's impostor pairs); both are held while people are drawn for the intervals. Holm's correction is over all gaps.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from skimage.color import rgb2lab

from fiqa_lib.apps import benchmark, protocol_tables
from fiqa_lib.evaluation import fit_threshold, protocol
from fiqa_lib.evaluation.bootstrap import two_sided_p
from fiqa_lib.faces import CANONICAL_EYES, EYE_DISTANCE
from fiqa_lib.files import write_csv
from fiqa_lib.recognition import load_recogniser
from fiqa_lib.scorers import SCORERS
from fiqa_lib.transforms import degrade

MEASURED = Path(__file__).resolve().parent / "measured" / "groups.csv"
SHARE, FMR, DRAWS = 0.2, 1e-3, 10_000
SEVERITY = {"mask": 0.8, "sunglasses": 0.8}
METHODS = {"distilled": "", "detector-score": "", "embedding-norm": "mobilefacenet", "ser-fiq": "dlib"}
"""Method -> the network that it is made of."""
LOW, HIGH = "lowest third", "highest third"
COLUMNS = "scorer verifier grouping group measure value low high p_value p_holm photographs people pairs".split()


def cheek_lightness(images):
    """The median CIE L* of two squares below the eyes, for canonical crops (N, 192, 192, 3)."""
    side, found = round(0.14 * EYE_DISTANCE), []
    middle = CANONICAL_EYES.mean(0)
    for image in images:
        squares = []
        for u in (-0.42, 0.42):
            x, y = np.rint(middle + EYE_DISTANCE * np.array([u, 0.55])).astype(int)
            squares.append(image[y - side : y + side + 1, x - side : x + side + 1].reshape(1, -1, 3))
        found.append(np.median(rgb2lab(np.concatenate(squares, 1))[..., 0]))
    return np.array(found)


def thirds(values):
    """LOW, "" or HIGH for each value."""
    low, high = np.nanquantile(values, [1 / 3, 2 / 3])
    return np.where(values <= low, LOW, np.where(values > high, HIGH, ""))


class Draws:
    """Shares, and gaps of shares, with intervals over the same draws of people."""

    def __init__(self, people, draws=DRAWS):
        self.people = np.unique(people)
        n = len(self.people)
        self.weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float32)

    def rate(self, flags, who):
        """The share of `flags` that are true: on the data, and in each draw; with how many and how many people."""
        place = np.searchsorted(self.people, who)
        ones = np.bincount(place, np.asarray(flags, float), len(self.people))
        all_ = np.bincount(place, minlength=len(self.people))
        below = self.weights @ all_.astype(np.float32)
        drawn = np.where(below > 0, (self.weights @ ones.astype(np.float32)) / np.maximum(below, 1), np.nan)
        return ones.sum() / max(all_.sum(), 1) if len(who) else np.nan, drawn, len(who), int((all_ > 0).sum())


def ends(drawn):
    """The 95% interval; NaN where a tenth of the draws have no value."""
    return np.nanquantile(drawn, [0.025, 0.975]) if np.isnan(drawn).mean() < 0.1 else (np.nan, np.nan)


def compared(draws, about, sides, unit):
    """Three rows: both groups and their gap (the second minus the first)."""
    made, out = {}, []
    for name, (flags, who) in sides.items():
        value, drawn, n, people = made[name] = draws.rate(flags, who)
        low, high = ends(drawn)
        out.append(about | {"group": name, "value": value, "low": low, "high": high, unit: n, "people": people})
    (one, a, *_), (other, b, *_) = made.values()
    low, high = ends(b - a)
    p = two_sided_p(b - a) if np.isfinite(low) else np.nan
    return [*out, about | {"group": "gap", "value": other - one, "low": low, "high": high, "p_value": p}]


def scores(faces):
    """Method -> scores, from the cache where they were made before."""
    given = SimpleNamespace(train=faces[:2], test=faces)  # none of them learns
    return {
        name: benchmark.score(SCORERS[name](**({"recogniser": network} if network else {})), given)[0]
        for name, network in METHODS.items()
    }


def table(folder):
    """All rows, as a DataFrame with `COLUMNS`."""
    material = protocol_tables.lfw_material(folder, train=(), per_person=45)
    a, b, mated = material.pairs
    recognisers = {name: load_recogniser(name) for name in protocol_tables.NETWORKS}
    similar = protocol_tables.similarities(material, recognisers, print)
    limit = {name: float(fit_threshold(values[~mated], FMR)) for name, values in similar.items()}
    print("thresholds are set", flush=True)
    faces, people = material.test, material.test.identities
    quality, draws, rows = scores(faces), Draws(people), []
    cut = {name: np.sort(values)[int(SHARE * len(values))] for name, values in quality.items()}

    lightness = cheek_lightness(faces.images)
    by_person = pd.Series(lightness).groupby(people).median()
    third_of = dict(zip(by_person.index, thirds(by_person.to_numpy()), strict=True))
    ranked = pd.DataFrame({"who": people, "value": lightness}).sort_values("value", kind="stable")
    own = np.full(len(faces), "", "<U20")
    own[ranked.groupby("who").head(1).index], own[ranked.groupby("who").tail(1).index] = "own darkest", "own lightest"
    turn = np.abs(faces.attributes["yaw_proxy"].to_numpy(float))
    groups = {"lightness": np.array([third_of[p] for p in people]), "own light": own, "pose": thirds(turn)}
    for name, measured in {"lightness": lightness, "own light": lightness, "pose": turn}.items():
        for group in sorted(set(groups[name]) - {""}):
            inside = groups[name] == group
            facts = {"photographs": inside.sum(), "people": len(np.unique(people[inside]))}
            rows.append({"grouping": name, "group": group, "measure": "median", "value": np.median(measured[inside])}
                        | facts)  # fmt: skip
    between = pd.Series(lightness).groupby(people).transform("mean").var() / lightness.var()
    about = {"grouping": "lightness", "group": "all", "measure": "variance between people", "value": between}
    rows.append(about | {"photographs": len(faces), "people": len(draws.people)})

    pair = mated & (material.scored[a] >= 0) & (material.scored[b] >= 0)
    one, two, who = material.scored[a[pair]], material.scored[b[pair]], material.people[a[pair]]
    more = np.where(turn[one] >= turn[two], one, two)
    of_pair = {"lightness": groups["lightness"][one], "pose": groups["pose"][more]}
    for name, of_face in groups.items():
        names = ["own lightest", "own darkest"] if name == "own light" else [LOW, HIGH]
        names = names[::-1] if name == "lightness" else names  # the gap: darker minus lighter, turned minus frontal
        for method, q in quality.items():
            sides = {g: ((q < cut[method])[of_face == g], people[of_face == g]) for g in names}
            rows += compared(draws, {"scorer": method, "grouping": name, "measure": "discarded"}, sides, "photographs")
        for verifier, values in similar.items() if name in of_pair else ():
            fails, where = values[pair] < limit[verifier], of_pair[name]
            about = {"verifier": verifier, "grouping": name}
            sides = {g: (fails[where == g], who[where == g]) for g in names}
            rows += compared(draws, about | {"measure": "fnmr before"}, sides, "pairs")
            for method, q in quality.items():
                kept = np.minimum(q[one], q[two]) >= cut[method]
                sides = {g: (fails[kept & (where == g)], who[kept & (where == g)]) for g in names}
                rows += compared(draws, about | {"scorer": method, "measure": "fnmr after"}, sides, "pairs")

    rows += covers(faces, quality, cut, recognisers, limit, draws)
    found = pd.DataFrame(rows)
    return found.assign(p_holm=protocol.holm(found["p_value"])).reindex(columns=COLUMNS)


def covers(faces, quality, cut, recognisers, limit, draws):
    """Rows of masks and sunglasses: each person's second photograph, as it is and covered, against the first."""
    order, rows = pd.Series(range(len(faces))).groupby(faces.identities), []
    first, second = (order.nth(n) for n in (0, 1))
    both = sorted(set(faces.identities[first]) & set(faces.identities[second]))
    first, second = (v[np.isin(faces.identities[v], both)].to_numpy() for v in (first, second))
    who, probes = faces.identities[second], faces[second]
    assert (faces.identities[first] == who).all()
    for kind, severity in SEVERITY.items():
        covered = degrade(probes, kind, severity, random_state=0)
        new = scores(covered)
        print(kind, "is scored", flush=True)
        for method, q in quality.items():
            sides = {"as it is": (q[second] < cut[method], who), "covered": (new[method] < cut[method], who)}
            rows += compared(draws, {"scorer": method, "grouping": kind, "measure": "discarded"}, sides, "photographs")
        for verifier, recogniser in recognisers.items():
            known, plain, hidden = (recogniser.embed(f) for f in (faces[first], probes, covered))
            fails = {n: recogniser.similarity_of(known, e) < limit[verifier]
                     for n, e in (("as it is", plain), ("covered", hidden))}  # fmt: skip
            about = {"verifier": verifier, "grouping": kind}
            sides = {n: (f, who) for n, f in fails.items()}
            rows += compared(draws, about | {"measure": "fnmr before"}, sides, "pairs")
            for method, q in quality.items():
                passed = {"as it is": q[second] >= cut[method], "covered": new[method] >= cut[method]}
                sides = {n: (f[passed[n]], who[passed[n]]) for n, f in fails.items()}
                rows += compared(draws, about | {"scorer": method, "measure": "fnmr after"}, sides, "pairs")
    return rows


def rows():
    """For `run.py`: the gaps of discards, without targets."""
    folder = os.environ.get("FIQA_LFW")
    if not folder:
        return [{"name": "LFW groups: not measured, FIQA_LFW names no folder", "value": float("nan")}]
    found = table(folder)
    if "--write" in sys.argv:
        write_csv(found.map(lambda v: f"{v:.5g}" if isinstance(v, float) and np.isfinite(v) else v), MEASURED)
    gaps = found[(found["group"] == "gap") & (found["measure"] == "discarded")]
    return [
        {"name": f"LFW, {r.scorer}, {r.grouping}: gap of discards (Holm p {r.p_holm:.3g})", "value": r.value}
        for r in gaps.itertuples()
    ]


if __name__ == "__main__":
    from run import report

    report(rows())
