"""Good, average, bad: the classes of score-based quality assessment, and what may give them away.

Two rules grade degraded copies of one source of faces: by the severity of the degradation, and by how well a recogniser
still knows the face. A user's own `good/ average/ bad/` folders are read as they are. In both cases one question is
always asked: can the grade be read off the size, the colour mode or the brightness alone?
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from ..data.folders import load_files
from ..errors import DataError, ImageError
from ..evaluation.verification import fit_threshold
from ..faces import Faces
from ..faces.images import find_images, read_image
from ..recognition import as_recogniser
from ..transforms.degradations import CLEAN

GRADES = ("bad", "average", "good")
"""The classes, worst first. This is not the alphabetical order: sort by `grade_index`."""
VALUES = (0.0, 0.5, 1.0)
"""The value of each class in an expected grade."""


def grade_index(grades):
    """(N,) int: 0 bad, 1 average, 2 good. DataError names any other word."""
    grades = np.asarray(grades).astype(str)
    unknown = sorted(set(grades) - set(GRADES))
    if unknown:
        raise DataError(f"unknown grade {unknown[0]!r}; grades are {', '.join(GRADES)}")
    return np.array([GRADES.index(g) for g in grades], int)


# --- rules ------------------------------------------------------------------------------------------------------------

EDGES = (0.3, 0.7)
"""Severities: below the first good, from the second on bad."""


def by_severity(faces, edges=EDGES):
    """Grades by the severity of the degradation: below `edges[0]` good, from `edges[1]` on bad.

    The same severity of two kinds does not harm recognition equally: the rule knows the picture's history, not the
    effect on a recogniser.

    Parameters
    ----------
    faces : Faces
        With the attribute `severity`, as `degradations.benchmark` sets it.
    edges : (float, float), default=(0.3, 0.7)
        Severities in 0..1, rising.

    Returns
    -------
    array (N,) str

    Raises
    ------
    DataError
        When the attribute is missing, or the edges are not rising.
    """
    if not edges[0] < edges[1]:
        raise DataError(f"edges must rise, got {edges}")
    if not isinstance(faces, Faces) or "severity" not in faces.attributes:
        raise DataError("these faces lack the attribute severity; degradations.benchmark sets it")
    severity = faces.attributes["severity"].to_numpy(float)
    if np.isnan(severity).any():
        raise DataError(f"{np.isnan(severity).sum()} faces have no severity")
    return np.select([severity < edges[0], severity >= edges[1]], ["good", "bad"], "average")


class RecognitionRule:
    """Grades by how well a recogniser knows the face, whatever its degradation.

    `recognisability` of a face is the median cosine between its embedding and those of the same person's other clean
    photographs, centred on clean training faces. Below the decision threshold (FMR `fmr` among clean training faces) it
    is bad: most references would reject it. Good is what is recognised like a clean photograph: at least as well as the
    worst `clean_share` of clean training faces. Between the two it is average.

    The recogniser that grades can't be the only judge of a score learned from these grades: test with another one too.

    Parameters
    ----------
    recogniser : str or Recogniser, default="dlib"
        Makes the embeddings.
    fmr : float, default=1e-3
        False match rate among clean faces of different people at the lower edge.
    clean_share : float, default=0.1
        Share of clean training faces that may lie below the upper edge.

    Attributes
    ----------
    centre_ : array (D,)
        Mean embedding of clean training faces.
    edges_ : (float, float)
        Below the first bad, from the second on good.
    """

    def __init__(self, recogniser="dlib", fmr=1e-3, clean_share=0.1):
        self.recogniser, self.fmr, self.clean_share = recogniser, fmr, clean_share

    def fit(self, faces, embeddings=None):
        """Learn centre and edges from training people.

        Parameters
        ----------
        faces : Faces
            With identities; without the attribute `kind` all count as clean.
        embeddings : array (N, D), default=None
            Of these faces, if they are known already.

        Returns
        -------
        self

        Raises
        ------
        DataError
            When there is only one person, or identities are unknown.
        """
        embeddings = self._embeddings(faces, embeddings)
        clean = _clean(faces)
        if len(np.unique(faces.identities[clean])) < 2:
            raise DataError("grades by recognition are learned from clean photographs of two people or more")
        self.centre_ = embeddings[clean].mean(0)
        similarity = self._cosines(embeddings[clean], embeddings[clean])
        other = faces.identities[clean][:, None] != faces.identities[clean]
        # few impostors make a coarse threshold, which only moves the edge: no reason to warn each time
        low = float(fit_threshold(similarity[other & np.tri(len(other), k=-1, dtype=bool)], self.fmr, warn=False))
        own = self.recognisability(faces[clean], embeddings[clean])
        high = float(np.quantile(own[np.isfinite(own)], self.clean_share))
        self.edges_ = (low, max(low, high))
        return self

    def recognisability(self, faces, embeddings=None):
        """Median cosine with the same person's other clean photographs: (N,) float64, NaN where there is none."""
        embeddings, clean = self._embeddings(faces, embeddings), np.flatnonzero(_clean(faces))
        source = faces.attributes["source"].to_numpy(str) if "source" in faces.attributes else faces.names
        medians = np.full(len(faces), np.nan)
        for person in np.unique(faces.identities):
            rows = np.flatnonzero(faces.identities == person)
            references = clean[faces.identities[clean] == person]
            similarity = self._cosines(embeddings[rows], embeddings[references])
            usable = source[rows][:, None] != source[references]
            for row, values, kept in zip(rows, similarity, usable, strict=True):
                if kept.any():
                    medians[row] = np.median(values[kept])
        return medians

    def grade(self, faces, embeddings=None):
        """Grades of faces: (N,) str. DataError when a person has no other clean photograph to compare with."""
        if not hasattr(self, "edges_"):
            raise DataError("the rule has learned nothing yet: fit it on training people")
        known = self.recognisability(faces, embeddings)
        if np.isnan(known).any():
            name = faces.names[np.isnan(known)][0]
            raise DataError(
                f"{np.isnan(known).sum()} faces ({name} first) have no other clean photograph of the same person: they "
                "can't be graded by recognition; leave them out, or grade by severity"
            )
        return np.select([known < self.edges_[0], known >= self.edges_[1]], ["bad", "good"], "average")

    def _embeddings(self, faces, embeddings):
        if (faces.identities == "").any():
            raise DataError("grades by recognition need to know who is shown; lay the folder out as identity/image.jpg")
        embeddings = as_recogniser(self.recogniser).embed(faces) if embeddings is None else np.asarray(embeddings)
        if len(embeddings) != len(faces):
            raise DataError(f"{len(faces)} faces, but {len(embeddings)} embeddings")
        return embeddings.astype(np.float64)

    def _cosines(self, a, b):
        a, b = (x - self.centre_ for x in (a, b))
        lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        return a @ b.T / np.maximum(lengths, 1e-12)


def _clean(faces):
    if "kind" not in faces.attributes:
        return np.ones(len(faces), bool)
    return (faces.attributes["kind"] == CLEAN).to_numpy()


# --- shortcuts --------------------------------------------------------------------------------------------------------


class ShortcutWarning(UserWarning):
    """The classes can be predicted without looking at quality."""


CUES = {"size": ["width", "height"], "colour mode": ["colour"], "brightness": ["brightness"]}
"""The possible shortcuts, and the columns of `cues` for each."""
SHORTCUT_COLUMNS = ["cue", "balanced_accuracy", "low", "high", "chance", "macro_f1", "readable"]


def cues(images):
    """Properties of a picture that need no look at its content.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8
        Pictures as they were read, of any size; `Faces.images` too.

    Returns
    -------
    DataFrame
        `width`, `height` in pixels; `colour`: mean difference of the largest and smallest channel, 0 for a grey
        picture; `brightness`: mean of all values, 0..255.
    """
    return pd.DataFrame([_cues_of(image) for image in images], columns=sum(CUES.values(), []))


def _cues_of(image):
    spread = image.max(2).astype(np.int16) - image.min(2)
    return image.shape[1], image.shape[0], float(spread.mean()), float(image.mean())


def shortcut_model(random_state=0):
    """The classifier that looks for a shortcut: a small decision tree with balanced classes (any order of values)."""
    return DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, class_weight="balanced", random_state=random_state)


def shortcuts(table, grades, groups=None, *, margin=0.1, folds=5, n_draws=300, random_state=0):
    """How well grades can be read off size, colour mode or brightness alone, on groups that the tree has not seen.

    Parameters
    ----------
    table : DataFrame
        As `cues` gives it.
    grades : sequence of N str
        The grade of each picture.
    groups : sequence of N, default=None
        People: kept together in cross-validation, and drawn together for the interval. None: each picture by itself.
    margin : float, default=0.1
        A shortcut is called `readable` when the lower end of its interval exceeds chance by this.
    folds : int, default=5
        Folds of the cross-validation, at most.
    n_draws : int, default=300
        Bootstrap draws for the interval.
    random_state : int, default=0
        Seed of tree, folds and draws.

    Returns
    -------
    DataFrame
        One row for each of `CUES` and one for "all three": `balanced_accuracy` (mean recall of the classes), `low`,
        `high` (95%, bootstrap over groups), `chance` (1 / number of classes), `macro_f1`, `readable`.

    Raises
    ------
    DataError
        With fewer than two classes, or too few pictures to hold some out.
    """
    grades = np.asarray(grades).astype(str)
    groups = np.arange(len(grades)) if groups is None else pd.factorize(np.asarray(groups))[0]
    present, counts = np.unique(grades, return_counts=True)
    if len(table) != len(grades) or len(groups) != len(grades):
        raise DataError(f"{len(table)} rows of cues, {len(grades)} grades, {len(groups)} groups: lengths must agree")
    if len(present) < 2:
        raise DataError(f"{len(present)} class: a shortcut needs two or more")
    folds = min(folds, counts.min(), len(np.unique(groups)))
    if folds < 2:
        raise DataError(f"only {counts.min()} picture of a class, or one group: too few to hold some out")
    chance, rows = 1 / len(present), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of few groups is no error here
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=random_state)
        splits = list(splitter.split(grades, grades, groups))
    for name, columns in {**CUES, "all three": sum(CUES.values(), [])}.items():
        x = table[columns].to_numpy(float)
        predicted = np.empty(len(grades), grades.dtype)
        for train, test in splits:
            predicted[test] = shortcut_model(random_state).fit(x[train], grades[train]).predict(x[test])
        draws = _drawn_confusions(grades, predicted, groups, n_draws, random_state)
        low, high = np.quantile(_mean_recall(draws), [0.025, 0.975])
        accuracy, f1 = balanced_accuracy_score(grades, predicted), f1_score(grades, predicted, average="macro")
        rows.append((name, accuracy, low, high, chance, f1, bool(low > chance + margin)))
    return pd.DataFrame(rows, columns=SHORTCUT_COLUMNS)


# --- how good predictions are -----------------------------------------------------------------------------------------


def confusion_by_group(truth, predicted, groups):
    """Confusion matrix of each group: (groups, K, K) int, true class by row, and the classes in sorted order."""
    classes, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    true, claimed = np.split(codes, [len(truth)])
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.zeros((len(names), len(classes), len(classes)), int)
    np.add.at(counts, (group, true, claimed), 1)
    return counts, classes


def _drawn_confusions(truth, predicted, groups, n_draws, random_state):
    """(n_draws, K, K) confusion matrices, each of all groups drawn with replacement."""
    counts, _ = confusion_by_group(np.asarray(truth), np.asarray(predicted), groups)
    rng = np.random.default_rng(random_state)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=n_draws)
    return np.tensordot(weights, counts, 1)


def _mean_recall(confusion):
    """Balanced accuracy; a class that does not occur is left out, as scikit-learn does."""
    return _mean_ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1))


def macro_f1(confusion):
    """Mean over classes of 2 right / (true + claimed): (...,) from (..., K, K), true class by row.

    Like scikit-learn's `f1_score`, but for many matrices at once. A class that is neither true nor claimed is left out.
    """
    confusion = np.asarray(confusion)
    return _mean_ratio(2 * np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1) + confusion.sum(-2))


def _mean_ratio(top, bottom):
    kept = bottom > 0
    ratio = np.divide(top, bottom, out=np.zeros(top.shape), where=kept)
    return ratio.sum(-1) / np.maximum(kept.sum(-1), 1)


def compare_predictions(truth, predictions, people, *, reference, n_draws=1000, random_state=0):
    """Macro-F1 of several classifiers on the same faces, and its difference from one of them, with intervals.

    Faces of one person are right or wrong together, so people are drawn, with replacement. All classifiers are judged
    on the same draws, which makes the intervals of the differences narrower than those of the values.

    Parameters
    ----------
    truth : sequence of N str
        The true grades.
    predictions : dict of name -> sequence of N str
        The grades that each classifier predicts.
    people : sequence of N
        The person in each face.
    reference : str
        One of the names: the classifier that the others are compared with.
    n_draws : int, default=1000
        Bootstrap draws.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    DataFrame
        One row for each classifier: `name`, `macro_f1`, `low`, `high` (95%), and `lead`, `lead_low`, `lead_high`: the
        macro-F1 of the reference minus this one's (above 0: the reference is better; missing for itself).

    Raises
    ------
    DataError
        When lengths differ or the reference is unknown.
    """
    if reference not in predictions:
        raise DataError(f"the reference {reference!r} is none of {', '.join(predictions)}")
    truth = np.asarray(truth).astype(str)
    drawn, value = {}, {}
    for name, predicted in predictions.items():
        predicted = np.asarray(predicted).astype(str)
        if not len(truth) == len(predicted) == len(people):
            raise DataError(f"{len(truth)} grades, {len(predicted)} predictions of {name}, {len(people)} people")
        drawn[name] = macro_f1(_drawn_confusions(truth, predicted, people, n_draws, random_state))
        value[name] = float(macro_f1(confusion_by_group(truth, predicted, people)[0].sum(0)))
    rows = []
    for name in predictions:
        lead = np.full(3, np.nan)
        if name != reference:
            difference = np.quantile(drawn[reference] - drawn[name], [0.025, 0.975])
            lead = np.array([value[reference] - value[name], *difference])
        rows.append((name, value[name], *np.quantile(drawn[name], [0.025, 0.975]), *lead))
    return pd.DataFrame(rows, columns=["name", "macro_f1", "low", "high", "lead", "lead_low", "lead_high"])


# --- the user's own classes -------------------------------------------------------------------------------------------


class Graded(NamedTuple):
    """What `load_graded` returns."""

    faces: Faces  # with the attribute `grade`
    report: pd.DataFrame  # one row for each file, as of `data.load_files`, with `grade` and the columns of `cues`
    shortcuts: pd.DataFrame  # as `shortcuts` gives it; empty where there are too few pictures


NUMBERED = {"good": "0", "average": "1", "bad": "2"}
"""Folders called by numbers, as in the repository of the score-based project (`pics/`): 0 is good, 2 is bad."""


def load_graded(folder, *, fallback="centre", strict=False, random_state=0, **options):
    """Faces of a folder laid out as `good/`, `average/`, `bad/`, each with images or with `identity/image` below.

    Folders `0/`, `1/`, `2/` are read as the score-based project means them, 0 good, 1 average, 2 bad, and this is
    printed; where yours count the other way, rename them.

    Whether the grade can be read off the pictures' size, colour mode or brightness alone is always computed; if so, a
    `ShortcutWarning` says so. A model trained on such pictures learns the shortcut: bring all pictures to one size and
    mode first, or take all classes from one source.

    Parameters
    ----------
    folder : path
        Holds the three folders.
    fallback : {"centre", None}, default="centre"
        What to do with a picture in which no face is found. Bad pictures often have none, so by default the middle is
        taken, and the report says so.
    strict : bool, default=False
        Raise for the first file that can't be used.
    random_state : int, default=0
        Seed of the search for shortcuts.
    **options
        As in `data.load_files`.

    Returns
    -------
    Graded
        Identities are the folders below the grade, or "" where there are none: people can't be kept apart then.

    Raises
    ------
    DataError
        When one of the three folders is missing or holds no image, or no file could be used.
    """
    folder, rows = Path(folder), []
    numbered = not any((folder / grade).is_dir() for grade in GRADES)
    numbered = numbered and all((folder / number).is_dir() for number in NUMBERED.values())
    if numbered:
        print(f"{folder}: folders are taken as {', '.join(f'{n}/ {grade}' for grade, n in NUMBERED.items())}")
    for grade in reversed(GRADES):
        below = folder / (NUMBERED[grade] if numbered else grade)
        if not below.is_dir():
            raise DataError(f"{folder}: there is no folder {grade}/; expected good/, average/ and bad/ with images")
        paths = find_images(below).paths
        if not paths:
            raise DataError(f"{below}: no image file in this folder or below")
        for path in paths:
            inside = path.relative_to(below).as_posix()
            rows.append((path, grade, f"{grade}/{inside}", inside.split("/")[0] if "/" in inside else ""))
    paths, grades, names, identities = map(list, zip(*rows, strict=True))
    loaded = load_files(paths, identities=identities, names=names, fallback=fallback, strict=strict, **options)
    if len(loaded.faces) == 0:
        raise DataError(f"{folder}: none of the {len(paths)} images could be used; {loaded.report['reason'].iloc[0]}")
    of_name = dict(zip(names, grades, strict=True))
    faces = loaded.faces.with_attributes(grade=[of_name[name.partition("#")[0]] for name in loaded.faces.names])
    report = _with_cues(loaded.report.assign(grade=grades))
    read = report["width"].notna()
    groups = np.array([person or path for person, path in zip(identities, paths, strict=True)], dtype=str)
    try:
        table = shortcuts(report[read], report["grade"][read], groups[read], random_state=random_state)
    except DataError:
        table = pd.DataFrame(columns=SHORTCUT_COLUMNS)
    if text := _shortcut_text(table):
        warnings.warn(f"{folder}: {text}", ShortcutWarning, stacklevel=2)
    return Graded(faces, report, table)


def _with_cues(report):
    rows = []
    for path in report["path"]:
        try:
            rows.append(_cues_of(read_image(path)))
        except ImageError:  # the report says why
            rows.append((np.nan,) * 4)
    return report.assign(**pd.DataFrame(rows, columns=sum(CUES.values(), []), index=report.index))


def _shortcut_text(table):
    """What to warn of, or None."""
    if table.empty:
        return "too few pictures to tell whether the grades can be read off size, colour or brightness"
    single = table[table["readable"].astype(bool) & (table["cue"] != "all three")]
    if single.empty:
        return None
    readable = ", ".join(f"{row.cue} ({row.balanced_accuracy:.0%} right)" for row in single.itertuples())
    return (
        f"the grade can be read off {readable} alone, where chance is {single['chance'].iloc[0]:.0%}. A model may "
        "learn that instead of quality"
    )
