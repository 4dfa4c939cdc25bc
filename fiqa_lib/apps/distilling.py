"""Train the network of `distilled` on LFW and say what it can do: weights, calibration, a table of what was tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..cache import cache_folder, write_stamp
from ..data.lfw import load_lfw_people
from ..errors import DataError
from ..evaluation import protocol
from ..evaluation.calibration import Calibration, non_match_shares
from ..evaluation.verification import fit_threshold
from ..networks.quality_trunk import Student, trunk_input
from ..recognition import load_recogniser
from ..scorers.distilled import BATCH, CALIBRATION, save_student
from ..scorers.distilled_training import (
    TEACHERS,
    Observer,
    fine_tune,
    fit_ridge,
    load_material,
    look_at_copies,
    photographs_to_learn_from,
)
from ..transforms.hard_copies import TURN

COMMAND = "python -m fiqa_lib train-distilled --data LFW --out data/models/distilled.npz"
PHOTOGRAPHS = 2540
"""Of 3,335 that LFW's learn people have, at most 12 of a person: what one hour of two busy cores could describe."""
EPOCHS = 0
"""Passes of fine-tuning over the copies. On LFW's choose people one pass was worse than none."""
EVEN = 1.7
"""A normal quantity of deviation 1 and a logistic one of scale 1 / 1.7 hardly differ: scores fill 0..100 evenly."""
MADE_BY = ["fiqa_lib.scorers.distilled_training"]
"""What the weights rest on, for their stamp."""


def train(data, out, *, work=None, epochs=EPOCHS, n_jobs=1, say=print):
    """Learn on LFW's learn people, scale and calibrate on its choose people, write the files that ship.

    Parameters
    ----------
    data : path
        A copy of LFW, as `load_lfw_people` reads it.
    out : path
        The weights, `.npz`. Calibration and stamp are written beside it.
    work : path, default=None
        Where descriptions of copies are kept while it runs (1.5 GB). None: in the cache.
    epochs : int, default=0
        Passes of fine-tuning; 0 stays with the ridge on the trunk as it is.
    n_jobs : int, default=1
        Processes that find faces.
    say : callable, default=print
        Told what is being done.

    Returns
    -------
    Path
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise DataError(f"{out}: the name must end in .npz")
    learn, choose = (load_lfw_people(data, role, n_jobs=n_jobs) for role in ("learn", "choose"))
    people, names = np.asarray(learn.faces.identities), np.asarray(learn.faces.names)
    rows = photographs_to_learn_from(names, people)[:PHOTOGRAPHS]
    folder = work or cache_folder("distilled")
    tell = lambda done: say(f"copies of {done} of {len(rows)}")  # noqa: E731
    files = look_at_copies(learn.faces.images[rows], names[rows], folder, Observer(), progress=tell)
    material = load_material(files, people[rows])
    known = ~np.isnan(material["label"]) & ~turned(material["kinds"])
    student = Student(Observer().trunk)
    fit_ridge(student, material["statistics"][known], material["label"][known])
    if epochs:
        material["label"][~known] = np.nan
        fine_tune(student, material, epochs=epochs, watch=lambda epoch, loss, _: say(f"epoch {epoch}: {loss:.4f}"))
    say("scores of the choose people")
    raw = choose.spread(raw_scores(student, choose.faces.images), -np.inf)
    similarities = {}
    for name in TEACHERS:
        network = load_recogniser(name)
        embeddings = choose.spread(network.embed(choose.faces), np.nan)
        similarities[name] = protocol.similarities(embeddings, choose.pairs, network.similarity_of)
    return write(student, out, raw, choose.pairs, similarities, photographs=len(rows), epochs=epochs)


def turned(kinds):
    """Copies that were turned in space; what learned from them was worse on heads that are really turned."""
    return np.array([TURN in row.split("+") for row in kinds])


def raw_scores(student, images):
    """What a student says of crops (N, 192, 192, 3), before it is scaled: (N,) float64."""
    student.eval()
    with torch.inference_mode():
        parts = [student(trunk_input(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
    return torch.cat(parts).double().numpy()


def write(student, out, raw, pairs, similarities, **about):
    """Write weights, calibration and stamp.

    Parameters
    ----------
    student : Student
        Trained.
    out : Path
        Of the weights.
    raw : array (N,)
        What it says of the choose people's photographs; -inf without a face.
    pairs : PairIndices
        Of these photographs.
    similarities : mapping of network to array (P,)
        Of each pair.
    **about
        Kept with the weights.

    Returns
    -------
    Path
    """
    known = raw[raw > -np.inf]
    middle, spread = float(known.mean()), float(known.std() / EVEN)
    save_student(student, out, middle, spread, **about)
    scores = np.where(raw > -np.inf, 100 / (1 + np.exp(-(raw - middle) / spread)), -np.inf)
    outcomes = []
    for similarity in similarities.values():
        threshold = fit_threshold(similarity[~np.asarray(pairs.mated)], protocol.FMR)
        outcomes.append(non_match_shares(scores, pairs, similarity, threshold))
    about = {"method": "distilled", "networks": list(similarities), "fmr": protocol.FMR, "people": "LFW, choose"}
    Calibration().fit(scores, np.mean(outcomes, axis=0), about=about).save(out.with_name(CALIBRATION))
    write_stamp(out.with_suffix(".json"), COMMAND, MADE_BY, version=__version__)
    return out
