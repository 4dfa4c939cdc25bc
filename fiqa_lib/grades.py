"""Good, average, bad: where the classes of score-based quality assessment come from, and what gives them away.

Two declared rules grade degraded copies of one source of faces: by the severity of what was done to them, and by how
well a recogniser still knows them. A user's own `good/ average/ bad/` folders are read as they are. In both cases the
question is asked that the field forgot: can the grade be read off the size, the colour mode or the brightness alone?
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

from .datasets import load_files
from .degradations import CLEAN
from .errors import DataError, ImageError
from .faces import Faces
from .images import find_images, read_image
from .recognition import as_recogniser
from .verification import fit_threshold

GRADES = ("bad", "average", "good")
"""The classes, worst first. Sorted by name they would stand in another order: so sort by `grade_index`."""
VALUES = (0.0, 0.5, 1.0)
"""What each class counts in an expected grade."""


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
    """Grades by what was done to the faces: severity below `edges[0]` is good, from `edges[1]` on bad.

    A severity of one kind does not harm recognition as much as that of another: the rule knows the picture's history,
    not its effect.

    Parameters
    ----------
    faces : Faces
        With the attribute `severity`, as `degradations.benchmark` sets it.
    edges : (float, float)

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
    severity = _attribute(faces, "severity", "degradations.benchmark sets it").to_numpy(float)
    if np.isnan(severity).any():
        raise DataError(f"{np.isnan(severity).sum()} faces have no severity")
    return np.select([severity < edges[0], severity >= edges[1]], ["good", "bad"], "average")


class RecognitionRule:
    """Grades by what a recogniser can do with the face, whatever was done to it.

    `recognisability` of a face is the median cosine between its embedding and those of the same person's other clean
    photographs, centred on clean training faces. Below the decision threshold (FMR `fmr` among clean training faces) it
    is bad: most references would reject it. Good is what is recognised like a clean photograph: at least as well as the
    worst `clean_share` of clean training faces. Between the two it is average.

    The recogniser that grades is then no witness for a score learned from the grades: test with another one too.

    Parameters
    ----------
    recogniser : str or Recogniser
    fmr : float
    clean_share : float

    Attributes
    ----------
    centre_ : array (D,)
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
            With identities; those without the attribute `kind` count as clean.
        embeddings : array (N, D), optional
            Of these faces, where they are known already.

        Raises
        ------
        DataError
            When nobody has two clean photographs, or only one person is there.
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
        source = _sources(faces)
        found = np.full(len(faces), np.nan)
        for person in np.unique(faces.identities):
            rows = np.flatnonzero(faces.identities == person)
            references = clean[faces.identities[clean] == person]
            similarity = self._cosines(embeddings[rows], embeddings[references])
            usable = source[rows][:, None] != source[references]
            for row, values, kept in zip(rows, similarity, usable, strict=True):
                if kept.any():
                    found[row] = np.median(values[kept])
        return found

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


def _attribute(faces, name, who):
    if not isinstance(faces, Faces) or name not in faces.attributes:
        raise DataError(f"these faces lack the attribute {name}; {who}")
    return faces.attributes[name]


def _clean(faces):
    if "kind" not in faces.attributes:
        return np.ones(len(faces), bool)
    return (faces.attributes["kind"] == CLEAN).to_numpy()


def _sources(faces):
    if "source" not in faces.attributes:
        return faces.names
    return faces.attributes["source"].to_numpy(str)


# --- what gives the grade away ----------------------------------------------------------------------------------------


class ShortcutWarning(UserWarning):
    """The classes can be told apart without looking at quality."""


CUES = {"size": ["width", "height"], "colour mode": ["colour"], "brightness": ["brightness"]}
"""What a shortcut may rest on, and the columns of `cues` for it."""


def cues(images):
    """What can be known of a picture without looking at its content.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8
        Pictures as they were read, of any size; `Faces.images` too.

    Returns
    -------
    DataFrame
        `width`, `height` in pixels; `colour`: mean difference of the largest and smallest channel, 0 for a grey
        picture; `brightness`: mean of all values.
    """
    rows = [_cues_of(image) for image in images]
    return pd.DataFrame(rows, columns=["width", "height", "colour", "brightness"])


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
    groups : sequence of N, optional
        People, kept apart in cross-validation and drawn together for the interval; by default each picture by itself.
    margin : float
        A shortcut is called `readable` when the lower end of its interval exceeds chance by this.
    folds, n_draws, random_state : int

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
        raise DataError(f"{len(present)} class: a shortcut is a way to tell two or more apart")
    folds = min(folds, counts.min(), len(np.unique(groups)))
    if folds < 2:
        raise DataError(f"only {counts.min()} picture of a class, or one group: too few to hold some out")
    chance, rows = 1 / len(present), []
    splits = list(_folds(grades, groups, folds, random_state))
    for name, columns in {**CUES, "all three": sum(CUES.values(), [])}.items():
        x = table[columns].to_numpy(float)
        said = np.empty(len(grades), grades.dtype)
        for train, test in splits:
            said[test] = shortcut_model(random_state).fit(x[train], grades[train]).predict(x[test])
        low, high = _interval(grades, said, groups, n_draws, random_state)
        accuracy, f1 = balanced_accuracy_score(grades, said), f1_score(grades, said, average="macro")
        rows.append((name, accuracy, low, high, chance, f1, bool(low > chance + margin)))
    return pd.DataFrame(rows, columns=["cue", "balanced_accuracy", "low", "high", "chance", "macro_f1", "readable"])


def _folds(grades, groups, folds, random_state):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of few groups is no error here
        return list(StratifiedGroupKFold(folds, shuffle=True, random_state=random_state).split(grades, grades, groups))


def _interval(grades, said, groups, n_draws, random_state):
    draws = _drawn_confusions(grades, said, groups, n_draws, random_state)
    return np.quantile(_mean_recall(draws), [0.025, 0.975])


# --- how good predictions are -----------------------------------------------------------------------------------------


def confusion_by_group(truth, said, groups):
    """Confusion matrix of each group: (groups, K, K) int, true class by row, and the classes in sorted order."""
    classes, codes = np.unique(np.concatenate([truth, said]), return_inverse=True)
    true, claimed = np.split(codes, [len(truth)])
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.zeros((len(names), len(classes), len(classes)), int)
    np.add.at(counts, (group, true, claimed), 1)
    return counts, classes


def _drawn_confusions(truth, said, groups, n_draws, random_state):
    """(n_draws, K, K) confusion matrices of as many groups, drawn with replacement."""
    counts, _ = confusion_by_group(np.asarray(truth), np.asarray(said), groups)
    rng = np.random.default_rng(random_state)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=n_draws)
    return np.tensordot(weights, counts, 1)


def _mean_recall(confusion):
    """Balanced accuracy; a class that does not occur is left out, as scikit-learn does."""
    occurs = confusion.sum(-1)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean_where(right, occurs, occurs > 0)


def macro_f1(confusion):
    """Mean over classes of 2 right / (true + claimed): (...,) from (..., K, K), true class by row.

    As scikit-learn's, a class that is neither true nor claimed is left out.
    """
    confusion = np.asarray(confusion)
    both = confusion.sum(-1) + confusion.sum(-2)
    return _mean_where(2 * np.diagonal(confusion, axis1=-2, axis2=-1), both, both > 0)


def _mean_where(top, bottom, kept):
    ratio = np.divide(top, bottom, out=np.zeros(top.shape), where=kept)
    return ratio.sum(-1) / np.maximum(kept.sum(-1), 1)


def compare_predictions(truth, predictions, people, *, reference, n_draws=1000, random_state=0):
    """Macro-F1 of several classifiers on the same faces, and its difference from one of them, with intervals.

    Faces of one person are right or wrong together, so people are drawn, with replacement; every classifier is judged
    on the same draws, which makes the differences sharper than the intervals themselves.

    Parameters
    ----------
    truth : sequence of N str
    predictions : dict of name -> sequence of N str
    people : sequence of N
    reference : str
        One of the names.
    n_draws, random_state : int

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
    for name, said in predictions.items():
        said = np.asarray(said).astype(str)
        if not len(truth) == len(said) == len(people):
            raise DataError(f"{len(truth)} grades, {len(said)} predictions of {name}, {len(people)} people")
        drawn[name] = macro_f1(_drawn_confusions(truth, said, people, n_draws, random_state))
        value[name] = float(macro_f1(confusion_by_group(truth, said, people)[0].sum(0)))
    rows = []
    for name in predictions:
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        lead = np.full(3, np.nan)
        if name != reference:
            difference = drawn[reference] - drawn[name]
            lead = np.array([value[reference] - value[name], *np.quantile(difference, [0.025, 0.975])])
        rows.append((name, value[name], low, high, *lead))
    columns = ["name", "macro_f1", "low", "high", "lead", "lead_low", "lead_high"]
    return pd.DataFrame(rows, columns=columns)


# --- the user's own classes -------------------------------------------------------------------------------------------


class Graded(NamedTuple):
    """Faces with the attribute `grade`, a report with one row for each file, and what the grades can be read off.

    `report` is that of `datasets.load_files` with the columns `grade` and those of `cues` added; `shortcuts` is what
    the function of that name returns (empty where there are too few pictures to tell).
    """

    faces: Faces
    report: pd.DataFrame
    shortcuts: pd.DataFrame


def load_graded(folder, *, fallback="centre", strict=False, random_state=0, **options):
    """Faces of a folder laid out as `good/`, `average/`, `bad/`, each with images or with `identity/image` below.

    Whether the grade can be read off the pictures' size, colour mode or brightness alone is always computed; where it
    can, a `ShortcutWarning` says so. A model trained on such pictures learns the shortcut: bring all pictures to one
    size and mode first, or take all classes from one source.

    Parameters
    ----------
    folder : path
    fallback : {"centre", None}
        What to do with a picture in which no face is found. Bad pictures often have none, so by default the middle is
        taken, and the report says so.
    strict, **options
        As in `datasets.load_files`.
    random_state : int
        Of the search for shortcuts.

    Returns
    -------
    Graded
        Identities are the folders below the grade, or "" where there are none: people can't be kept apart then.

    Raises
    ------
    DataError
        When one of the three folders is missing or holds no image, or no file could be used.
    """
    folder, paths, grades, names, identities = Path(folder), [], [], [], []
    for grade in reversed(GRADES):
        below = folder / grade
        if not below.is_dir():
            raise DataError(f"{folder}: there is no folder {grade}/; expected good/, average/ and bad/ with images")
        found = find_images(below).paths
        if not found:
            raise DataError(f"{below}: no image file in this folder or below")
        for path in found:
            inside = path.relative_to(below).as_posix()
            paths.append(path)
            grades.append(grade)
            names.append(f"{grade}/{inside}")
            identities.append(inside.split("/")[0] if "/" in inside else "")
    loaded = load_files(paths, identities=identities, names=names, fallback=fallback, strict=strict, **options)
    if len(loaded.faces) == 0:
        raise DataError(f"{folder}: none of the {len(paths)} images could be used; {loaded.report['reason'].iloc[0]}")
    of_name = dict(zip(names, grades, strict=True))
    faces = loaded.faces.with_attributes(grade=[of_name[name.partition("#")[0]] for name in loaded.faces.names])
    report = _with_cues(loaded.report.assign(grade=grades))
    read = report["width"].notna()
    known = np.array([person or path for person, path in zip(identities, paths, strict=True)], dtype=str)
    found = _shortcuts_or_none(report[read], known[read], random_state)
    _warn(folder, found)
    return Graded(faces, report, found)


def _with_cues(report):
    rows = []
    for path in report["path"]:
        try:
            rows.append(_cues_of(read_image(path)))
        except ImageError:  # the report says why
            rows.append((np.nan,) * 4)
    return report.assign(**pd.DataFrame(rows, columns=["width", "height", "colour", "brightness"], index=report.index))


def _shortcuts_or_none(table, groups, random_state):
    try:
        return shortcuts(table, table["grade"], groups, random_state=random_state)
    except DataError:
        return pd.DataFrame(columns=["cue", "balanced_accuracy", "low", "high", "chance", "macro_f1", "readable"])


def _warn(folder, found):
    if found.empty:
        text = f"{folder}: too few pictures to tell whether the grades can be read off size, colour or brightness"
        warnings.warn(text, ShortcutWarning, stacklevel=3)
        return
    single = found[found["readable"].astype(bool) & (found["cue"] != "all three")]
    if single.empty:
        return
    said = ", ".join(f"{row.cue} ({row.balanced_accuracy:.0%} right)" for row in single.itertuples())
    text = f"{folder}: the grade can be read off {said} alone, where chance is {single['chance'].iloc[0]:.0%}"
    warnings.warn(f"{text}. A model may learn that instead of quality", ShortcutWarning, stacklevel=3)
