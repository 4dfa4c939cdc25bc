"""CAFI: a gate that asks whether the face can be recognised, then the quality of the face without its background."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..cache import content_key
from ..data.orl import benchmark_pairs
from ..errors import DataError
from ..evaluation.verification import fit_threshold
from ..faces import EYE_DISTANCE, SIZE, Faces, crops_of, masking
from ..recognition import as_recogniser
from ..transforms import CLEAN, benchmark
from .base import SCORERS, Scorer, register
from .dbcnn import DBCNN
from .ser_fiq import Calibration, SerFiq

_CHOICES = {"region": (*masking.REGIONS, "mean", None), "fill": masking.FILLS, "train_on": ("masked", "faces")}
_CHOICES["nose"] = masking.NOSES
MIN_WORKING_SIZE = 112
"""The smallest side, in pixels, at which landmarks and masks may be drawn."""


@register("cafi")
class Cafi(Scorer):
    """SER-FIQ gate, then DBCNN on the face without its background.

    Source: the CAFI pipeline (course notebook 14). A face passes the gate when its calibrated SER-FIQ score, the
    probability of being matched, is at least `gate`. Then all but the hull of its 68 landmarks becomes black, and DBCNN
    judges what is left: that is the score. `assess` gives the decision, its reason and the head's pose; a refused face
    has no score there. `score_samples` has to order all faces: a refused one gets its gate value minus 1, below 0 and
    so below every face that passed, whose scores are cut off at 0.

    **Faithful**: the order of the parts, T = 100, the black hull, pose by solvePnP, nothing below 112 x 112 pixels,
    landmarks and masks at 384 x 384. **Changed**: the gate's threshold is one of a score that is calibrated for the
    recogniser, since 0.5 on the original's scale means nothing with another; DBCNN is this course's, whose input is the
    canonical crop of 192 pixels, and learns on masked faces, since a network trained on whole pictures has never seen
    black ground (notebook 13); the pose is that of the aligned crop, with the roll that alignment took out added where
    it is known, and the tip of the nose is landmark 30, the tip, where CAFI takes 33, between the nostrils: with 33 the
    pitch of 80 ORL faces was lower by 14 degrees (median).

    **As written**: `Cafi(gate=0.5, calibration=(130, 0.88), nose=33, train_on="faces")`, with the authors' ArcFace-R100
    as `recogniser` and a DBCNN of opinions as `judge`. The order of all faces (`score_samples`) has no original.

    **Blind**: the gate to what SER-FIQ overlooks (an object before the face, for example); the judge to what DBCNN
    overlooks. The outline of the hull moves the score about half as much as good faces differ from each other
    (notebook 14).

    Parameters
    ----------
    gate : float or None, default=0.7
        The least probability (0..1; or what `calibration` makes of it) that passes; None: no gate. With dlib on
        degraded bundled faces 0.7 refuses about one in eight (notebook 14), and 0.5 none: there SER-FIQ knows too
        little to say that a match is unlikely.
    region : {"hull", "ellipse", "mean", None}, default="hull"
        What is kept of the face: see `masking`. "mean" is one hull for all, that of the training people's mean
        landmarks; None: no mask. Both are controls.
    fill : {"black", "grey", "blurred"}, default="black"
        What takes the place of the rest.
    train_on : {"masked", "faces"}, default="masked"
        What DBCNN learns on: masked faces, as it will see them; or whole crops, as CAFI's did.
    quality : dict, default=None
        Parameters of `DBCNN` other than its defaults.
    judge : Scorer or str, default=None
        What scores the masked faces in place of a DBCNN of its own: a fitted scorer, or the name of a method that
        learns nothing. It is not stored by `save`, except by name; scikit-learn's `clone` empties it unless it is
        wrapped in `sklearn.frozen.FrozenEstimator`. Its scores are handed on as they are by `assess`; in
        `score_samples` behind a gate they are moved above 0 without change of order.
    calibration : {"learned", "raw"} or (float, float), default="learned"
        From SER-FIQ scores to the scale of `gate`. "learned": the probability of being matched, by `fit`. Slope and
        middle: that curve, such as SER-FIQ's own (130, 0.88). "raw": none, `gate` is a threshold of SER-FIQ's score,
        2 / (1 + e^d).
    fmr : float, default=1e-3
        The false match rate of the decision threshold in the calibration.
    n_passes : int, default=100
        T of SER-FIQ: stochastic forward passes.
    n_copies : int, default=4
        Degraded copies of each face for the calibration, of all kinds.
    max_faces : int, default=None
        Learn from at most this number of faces, evenly spread over those given; None: from all.
    min_size : int, default=112
        Photographs and faces with fewer pixels on a side are refused by `assess`. The size of a face is that of the
        square of the photograph that its crop shows.
    size : int, default=384
        Side in pixels to which the crop is enlarged before masks and pose; at least 112.
    nose : {30, 33}, default=30
        The landmark that stands for the tip of the nose in the pose; see `masking.head_pose`.
    recogniser : str or Recogniser, default="dlib"
        Whose embeddings the gate uses.
    random_state : int, default=0
        Randomness of the copies, of SER-FIQ and of DBCNN.

    Attributes
    ----------
    dbcnn_ : DBCNN or None
        The judge, where no other is given.
    calibration_ : Calibration or None
        From SER-FIQ scores to probabilities; None where none was learned.
    threshold_ : float
        Decision threshold of the recogniser, from the training people; NaN where none was learned.
    mean_points_ : array (68, 2)
        Mean landmarks of the training people, in pixels of the crop.
    """

    learns = True
    claims = ("uneven_light", "motion_blur", "over_exposure", "low_light", "sensor_noise", "occlusion", "sunglasses")
    cost = "one embedding, 68 landmarks, two networks"
    silent = ("gate", "min_size", "nose")
    details = ("gate", "yaw", "pitch", "roll")
    # the bundled photographs have 92 x 112 pixels, less than CAFI asks for
    quick = {"n_copies": 2, "quality": {**DBCNN.quick}, "n_passes": 20, "max_faces": 80, "min_size": 64}

    def __init__(
        self,
        gate=0.7,
        region="hull",
        fill="black",
        train_on="masked",
        quality=None,
        fmr=1e-3,
        n_passes=100,
        n_copies=4,
        max_faces=None,
        min_size=112,
        recogniser="dlib",
        random_state=0,
        judge=None,
        calibration="learned",
        size=masking.WORKING_SIZE,
        nose=30,
    ):
        self.gate = gate
        self.region = region
        self.fill = fill
        self.train_on = train_on
        self.quality = quality
        self.fmr = fmr
        self.n_passes = n_passes
        self.n_copies = n_copies
        self.max_faces = max_faces
        self.min_size = min_size
        self.recogniser = recogniser
        self.random_state = random_state
        self.judge = judge
        self.calibration = calibration
        self.size = size
        self.nose = nose

    # --- learning

    def fit(self, faces, identities=None):
        """Calibrate the gate and train DBCNN.

        Parameters
        ----------
        faces : Faces
            With identities, where a calibration is learned: it needs two pictures of a person, and several people.
        identities : sequence of N, default=None
            In place of those in `faces`.

        Returns
        -------
        self

        Raises
        ------
        DataError
            When identities are missing, or all or none of the degraded copies are matched.
        """
        self._check()
        if not isinstance(faces, Faces):
            raise DataError("CAFI learns from Faces with identities, not from an array")
        if identities is not None:
            faces = Faces(faces.images, identities, faces.names, faces.attributes)
        learned = self._learns_calibration()
        if learned and ((faces.identities == "").any() or len(set(faces.identities)) < 2):
            raise DataError("the gate is calibrated on matches: faces of at least two known people are needed")
        if self.max_faces is not None and self.max_faces < len(faces):
            faces = faces[np.unique(np.linspace(0, len(faces) - 1, self.max_faces).round().astype(int))]
        self.calibration_, self.threshold_ = None, np.nan
        if learned:
            ser_fiq = self._ser_fiq(as_recogniser(self.recogniser))
            options = {"fmr": self.fmr, "n_copies": self.n_copies, "random_state": self.random_state}
            self.calibration_, self.threshold_ = calibrate_gate(faces, ser_fiq, **options)
        clean = faces if "kind" not in faces.attributes else faces[(faces.attributes["kind"] == CLEAN).to_numpy()]
        self.mean_points_ = masking.crop_landmarks(clean).mean(0)
        self.dbcnn_ = None
        if self.judge is None:
            whole = self.train_on == "faces" or self.region is None
            self.dbcnn_ = self._blank_dbcnn().fit(faces, change=None if whole else self.masked)
        return self

    def _check(self):
        if self.gate is not None and not 0 <= self.gate <= 1:
            raise DataError(f"gate must be a probability or None, not {self.gate!r}")
        if not isinstance(self.size, int) or self.size < MIN_WORKING_SIZE:
            raise DataError(f"size must be a whole number from {MIN_WORKING_SIZE}, not {self.size!r}")
        self._given_curve()
        self._given_judge()
        for name, known in _CHOICES.items():
            if (given := getattr(self, name)) not in known:
                raise DataError(f"there is no {name} {given!r}; known: {', '.join(map(str, known))}")

    def _learns_calibration(self):
        return isinstance(self.calibration, str) and self.calibration == "learned"

    def _given_curve(self):
        """The calibration that a parameter gives, or None."""
        if isinstance(self.calibration, str) and self.calibration in ("learned", "raw"):
            return None
        try:
            slope, middle = (float(number) for number in self.calibration)
        except (TypeError, ValueError):
            slope, middle = np.nan, np.nan
        if not (slope > 0 and np.isfinite([slope, middle]).all()):
            raise DataError(
                f'calibration must be "learned", "raw", or two numbers such as (130, 0.88), not {self.calibration!r}'
            )
        return Calibration(slope, middle)

    def _curve(self):
        """From SER-FIQ scores to the scale of the gate."""
        if isinstance(self.calibration, str) and self.calibration == "raw":
            return np.asarray
        if (curve := self._given_curve() or self.calibration_) is None:
            raise DataError("this CAFI was fitted with a given calibration: give it again, or fit with the default")
        return curve

    def _given_judge(self):
        """The judge that a parameter gives, or None."""
        if self.judge is None or callable(getattr(self.judge, "score_samples", None)):
            return self.judge
        if self.judge not in SCORERS or SCORERS[self.judge].learns:
            ready = ", ".join(sorted(name for name, cls in SCORERS.items() if not cls.learns))
            raise DataError(f"judge must be a fitted scorer, or one of those that learn nothing: {ready}")
        judge = SCORERS[self.judge]()
        shared = {name: getattr(self, name) for name in ("recogniser", "random_state") if name in judge.get_params()}
        return judge.set_params(**shared)

    def _ser_fiq(self, recogniser):
        return SerFiq(self.n_passes, recogniser=recogniser, random_state=self.random_state)

    def _blank_dbcnn(self):
        return DBCNN(**{"recogniser": self.recogniser, "random_state": self.random_state, **(self.quality or {})})

    # --- scoring

    def masked(self, faces, points=None):
        """The faces as DBCNN sees them.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Aligned to the canonical crop.
        points : array (N, 68, 2), default=None
            Landmarks in pixels of the crop; None: found in each crop.

        Returns
        -------
        array (N, 192, 192, 3) uint8
        """
        images = crops_of(faces)
        if self.region is None:
            return images
        region, points = ("hull", self.mean_points_) if self.region == "mean" else (self.region, points)
        return masking.masked_crops(images, region, self.fill, points, self.size)

    def pictures(self, faces):
        """The masked faces at `size`, as CAFI stores them, one after the other: iterator of (size, size, 3) uint8."""
        for image, points in zip(crops_of(faces), masking.crop_landmarks(faces), strict=True):
            if self.region is None:
                yield masking.enlarged(image, self.size)
                continue
            region, points = ("hull", self.mean_points_) if self.region == "mean" else (self.region, points)
            yield masking.masked_picture(image, points, region, self.fill, self.size)

    def gate_values(self, faces):
        """Calibrated SER-FIQ score of each face, the probability of being matched: (N,) float64 in 0..1."""
        ser_fiq = self._ser_fiq(as_recogniser(self.recogniser))
        return self._curve()(ser_fiq.score_samples(crops_of(faces)))

    def _passes(self, values):
        return np.ones(len(values), bool) if self.gate is None else values >= self.gate

    def _score(self, images, faces):
        if self.gate is None:
            return self._quality(images)
        values = self.gate_values(images)
        passed = self._passes(values)
        scores = values - 1
        quality = self._quality(images[passed])
        scores[passed] = quality if self.judge is None else _above_zero(quality)
        return scores

    def _quality(self, images, points=None):
        if len(images) == 0:
            return np.zeros(0)
        masked = self.masked(images, points)
        if (judge := self._given_judge()) is not None:
            return np.asarray(judge.score_samples(masked), float)
        if self.dbcnn_ is None:
            raise DataError("this CAFI was fitted with another judge: give it again, or fit with the default")
        return np.maximum(self.dbcnn_.score_samples(masked), 0)

    def assess(self, faces):
        """Score, decision, reason and pose of each face.

        Parameters
        ----------
        faces : Faces or array (N, 192, 192, 3) uint8
            Aligned to the canonical crop.

        Returns
        -------
        DataFrame with N rows
            `score` (NaN when refused), `status` ("ok" or "refused"), `reason`, `gate` (the calibrated SER-FIQ score),
            `yaw`, `pitch`, `roll` in degrees (NaN where no head explains the landmarks). The sizes of photograph and
            face are checked where the faces know them (`photo_width`, `photo_height`, `inter_eye_px`).
        """
        self._check()
        images = crops_of(faces)
        points, gate = masking.crop_landmarks(images), self.gate_values(images)
        reasons = self._too_small(faces) if isinstance(faces, Faces) else [""] * len(images)
        for row in np.flatnonzero(~self._passes(gate)):
            closed = f"the gate is closed: calibrated SER-FIQ {gate[row]:.3f}, at least {self.gate:g} is needed"
            reasons[row] = reasons[row] or closed
        accepted = np.array([reason == "" for reason in reasons], bool)
        score = np.full(len(images), np.nan)
        score[accepted] = self._quality(images[accepted], points[accepted])
        status = np.where(accepted, "ok", "refused")
        table = pd.DataFrame({"score": score, "status": status, "reason": reasons, "gate": gate})
        table[["yaw", "pitch", "roll"]] = self._poses(points, faces)
        return table

    def _too_small(self, faces):
        """For each face the reason why it or its photograph is too small; "" where it is not or the size is unknown."""
        table = faces.attributes.reindex(columns=["photo_width", "photo_height", "inter_eye_px"])
        reasons = []
        for width, height, eyes in table.itertuples(index=False):
            side = eyes / EYE_DISTANCE * SIZE
            sizes = {"photograph": (width, height), "face": (side, side)}
            small = [f"the {what} has {w:.0f} x {h:.0f}" for what, (w, h) in sizes.items() if min(w, h) < self.min_size]
            reasons.append(f"{small[0]} pixels; at least {self.min_size} x {self.min_size} are needed" if small else "")
        return reasons

    def _poses(self, points, faces):
        known = isinstance(faces, Faces) and "roll_deg" in faces.attributes
        rolls = np.nan_to_num(faces.attributes["roll_deg"].to_numpy(float)) if known else np.zeros(len(points))
        poses = np.full((len(points), 3), np.nan)
        for pose, where, roll in zip(poses, points, rolls, strict=True):
            try:
                pose[:] = masking.head_pose(masking.at_size(where, self.size), (self.size, self.size), nose=self.nose)
                pose[2] += roll
            except DataError:  # landmarks that no head explains: the face is scored without a pose
                pass
        return poses

    # --- kept in a file

    def get_state(self):
        """What the gate and DBCNN learned: dict of name -> array. Of another judge only a hash, to know it by."""
        if self.dbcnn_ is not None:
            arrays = {f"dbcnn.{name}": value for name, value in self.dbcnn_.get_state().items()}
        else:
            arrays = {"judge": _fingerprint(self.judge)}
        curve = self.calibration_ or Calibration(np.nan, np.nan)
        calibration = np.array([curve.slope, curve.middle])
        return arrays | {"calibration": calibration, "threshold": self.threshold_, "mean_points": self.mean_points_}

    def set_state(self, arrays):
        """Restore what `get_state` returned. ValueError where it was made with a judge or a calibration not given."""
        dbcnn = None
        if "judge" in arrays:
            if self.judge is None or not np.array_equal(arrays["judge"], _fingerprint(self.judge)):
                raise ValueError("made with another judge: hand in the same one, judge=...")
        else:
            dbcnn = self._blank_dbcnn()
            dbcnn.set_state({n.removeprefix("dbcnn."): value for n, value in arrays.items() if n.startswith("dbcnn.")})
        slope, middle = arrays["calibration"]
        if np.isnan(slope) and self._learns_calibration():
            raise ValueError("made with a given calibration: hand in the same one, calibration=...")
        self.mean_points_ = np.asarray(arrays["mean_points"], float).reshape(68, 2)
        self.threshold_ = float(arrays["threshold"])
        self.dbcnn_, self.calibration_ = dbcnn, None if np.isnan(slope) else Calibration(slope, middle)


def _above_zero(scores):
    """Any scores as positive ones of the same order, so that the refused can stand below all of them."""
    return np.where(scores >= 0, 1 + np.maximum(scores, 0), 1 / (1 - np.minimum(scores, 0)))


def _fingerprint(judge):
    """(16,) uint8: what a judge is and has learned."""
    state = {} if isinstance(judge, str) or not getattr(judge, "learns", False) else judge.get_state()
    parts = [part for name, value in sorted(state.items()) for part in (name, np.asarray(value).tobytes())]
    return np.frombuffer(bytes.fromhex(content_key(repr(judge), *parts)), np.uint8)


def calibrate_gate(faces, ser_fiq, *, fmr=1e-3, n_copies=4, random_state=0):
    """A curve from SER-FIQ scores to the probability of being matched, learned on these people.

    Each face and its degraded copies (severities 0.2 to 0.8, all kinds) is compared with one clean picture of the same
    person, drawn at random; the decision threshold comes from all impostor pairs.

    Parameters
    ----------
    faces : Faces
        Clean, with identities. Faces that are degraded already are used as they are.
    ser_fiq : SerFiq
        With its recogniser.
    fmr : float, default=1e-3
        The false match rate of the decision threshold.
    n_copies : int, default=4
        Degraded copies of each clean face.
    random_state : int, default=0
        Randomness of the copies and of the choice of pictures.

    Returns
    -------
    (Calibration, float)
        The curve and the decision threshold.

    Raises
    ------
    DataError
        When all faces or none were matched, or a higher score goes with fewer matches.
    """
    if "kind" not in faces.attributes or (faces.attributes["kind"] == CLEAN).all():
        faces = benchmark(faces, copies=n_copies, severities=(0.2, 0.4, 0.6, 0.8), random_state=random_state)
    recogniser, pairs = as_recogniser(ser_fiq.recogniser), benchmark_pairs(faces)
    if not pairs.mated.any() or pairs.mated.all():
        raise DataError("the gate needs pairs of one person and of two: several pictures of several people")
    embeddings = recogniser.embed(faces)
    similarity = recogniser.similarity_of(embeddings[pairs.index_a], embeddings[pairs.index_b])
    threshold = float(fit_threshold(similarity[~pairs.mated], fmr, warn=False))
    rows = np.random.default_rng(random_state).permutation(np.flatnonzero(pairs.mated))
    chosen = rows[np.unique(pairs.index_b[rows], return_index=True)[1]]
    scores = ser_fiq.score_samples(faces[pairs.index_b[chosen]])
    calibration = Calibration.fit(scores, similarity[chosen] >= threshold)
    if calibration.slope <= 0:
        raise DataError("higher SER-FIQ scores go with fewer matches here: these faces are too few for a gate")
    return calibration, threshold
