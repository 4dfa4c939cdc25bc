"""Strengths and views of methods that learn nothing, compared on the choose people of LFW and of ORL-D.

Run with `python benchmarks/choices.py --lfw FOLDER --out data/results/choices.csv`; `--only METHOD` renews the rows
of one method. It prints a table and sets nothing. Nobody of the report people is looked at.

Each setting is scored with both networks and verified by both (averaged), and compared with the setting that is the
default now: oracle-scaled area up to 20% discard, lower is better, differences with Holm-corrected intervals over
people. A default should change only where another setting is `better` on one set and not `worse` on the other.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from fiqa_lib import recognition
from fiqa_lib.data import load_lfw_people, pair_indices, people_pairs
from fiqa_lib.evaluation import protocol
from fiqa_lib.files import write_csv
from fiqa_lib.scorers import SCORERS
from fiqa_lib.scorers.view_agreement import SETTINGS, VIEWS

NETWORKS = ("dlib", "mobilefacenet")
PER_PERSON = 4
"""The most photographs of a person of LFW."""
COPIES = 3
"""Degraded copies of each photograph of ORL-D."""


def _views(*views, frame=0.15, blur=0.03):
    return {"views": views, "settings": {"structured-occlusion": {"width": frame}, "blur": {"sigma": blur}}}


CANDIDATES = {
    "view-agreement": {
        "default": {"views": VIEWS, "settings": SETTINGS},
        "mirror": _views("flip"),
        "blur+mirror": _views("blur+flip"),
        "frame+mirror": _views("structured-occlusion+flip"),
        "mirror, blur+mirror": _views("flip", "blur+flip"),
        "default, frame 0.3": _views(*VIEWS, frame=0.3),
        "default, blur 0.06": _views(*VIEWS, blur=0.06),
        "default, frame 0.3, blur 0.06": _views(*VIEWS, frame=0.3, blur=0.06),
    },
    "perturbation-stability": {
        "default": {},
        "blur 0.03": {"perturbation": "blur", "settings": {"sigma": 0.03}},
        "blur 0.06": {"perturbation": "blur", "settings": {"sigma": 0.06}},
        "noise 0.05": {"perturbation": "gaussian", "n_draws": 1, "settings": {"sigma": 0.05}},
        "noise 0.1": {"perturbation": "gaussian", "n_draws": 1, "settings": {"sigma": 0.1}},
        "rotation 5": {"perturbation": "rotation", "settings": {"degrees": 5.0}},
        "frame 0.15": {"perturbation": "structured-occlusion", "settings": {"width": 0.15}},
        "frame 0.3": {"perturbation": "structured-occlusion", "settings": {"width": 0.3}},
    },
    "prefiqs": {
        "default": {},
        "layer 0.05": {"share": 0.05},
        "layer 0.1": {"share": 0.1},
        "layer 0.2": {"share": 0.2},
        "network 0.1": {"share": 0.1, "scope": "network"},
        "network 0.4": {"share": 0.4, "scope": "network"},
    },
    "faceqan": {"default": {}, "epsilon 0.005": {"epsilon": 0.005}, "epsilon 0.02": {"epsilon": 0.02}},
}
"""Method -> name of a setting -> parameters; "default" is what stands in the library."""


def lfw(folder):
    """(faces, pairs, people): the first photographs of each of the choose people with two or more."""
    everyone = load_lfw_people(folder, "choose")
    found = pd.Series(everyone.people[everyone.found >= 0], index=everyone.found[everyone.found >= 0])
    nth = found.groupby(found).cumcount()
    kept = found[(nth < PER_PERSON) & (found.groupby(found).transform("size") > 1)]
    faces = everyone.faces[kept.index.to_numpy()]
    return faces, people_pairs(faces.names, faces.identities), faces.identities


def orl_d():
    """(faces, pairs, people): ORL-D of the choose people."""
    faces = protocol.orl_d_of("choose", copies=COPIES)
    return faces, pair_indices(faces.identities), faces.identities


def compare(method, sets, recognisers, draws):
    """The table of one method: a row for each set, network of the score, and setting."""
    rows = []
    for name, (faces, pairs, people) in sets.items():
        embeddings = {network: recogniser.embed(faces) for network, recogniser in recognisers.items()}
        similar = {
            network: protocol.similarities(embeddings[network], pairs, recogniser.similarity_of)
            for network, recogniser in recognisers.items()
        }
        for network, recogniser in recognisers.items():
            scores = {
                setting: SCORERS[method](**parameters, recogniser=recogniser).score_samples(faces)
                for setting, parameters in CANDIDATES[method].items()
            }
            with warnings.catch_warnings():  # 8 people of ORL-D are few, and the intervals say so
                warnings.simplefilter("ignore", protocol.FewPeopleWarning)
                warnings.simplefilter("ignore", protocol.FewImpostorsWarning)
                judged = protocol.judge(scores, pairs, similar, people, reference="default", draws=draws)
            table = judged.table[judged.table["limit"] == protocol.HEADLINE]
            about = {"method": method, "set": name, "faces": len(faces), "people": len(np.unique(people))}
            rows.append(table.rename(columns={"method": "setting"}).assign(**about, network=network))
            print(f"{method}, {name}, {network}: done", flush=True)
    return pd.concat(rows)[COLUMNS]


COLUMNS = ["method", "set", "network", "setting", "oracle_scaled", "low", "high", "starting_error", "difference"]
COLUMNS += ["difference_low", "difference_high", "p_holm", "verdict", "faces", "people"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lfw", metavar="FOLDER", required=True, help="as data.load_lfw_people reads it")
    parser.add_argument("--out", type=Path, default=Path("data/results/choices.csv"))
    parser.add_argument("--only", choices=CANDIDATES)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    recognisers = {n: recognition.Remembering(recognition.load_recogniser(n)) for n in NETWORKS}
    sets = {"lfw": lfw(options.lfw), "orl-d": orl_d()}
    for method in [options.only] if options.only else CANDIDATES:
        table = compare(method, sets, recognisers, options.draws)
        if options.out.exists():
            before = pd.read_csv(options.out)
            table = pd.concat([before[before["method"] != method], table])
        write_csv(table.round(4), options.out)
    shown = pd.read_csv(options.out)
    print(shown.to_string(index=False))
    mean = shown.pivot_table("oracle_scaled", ["method", "setting"], ["set", "network"], sort=False)
    print(mean.assign(mean=mean.mean(axis=1)).round(3).to_string())


if __name__ == "__main__":
    main()
