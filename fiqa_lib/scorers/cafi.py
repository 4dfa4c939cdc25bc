"""CAFI: a gate that asks whether the face can be recognised, then the quality of the face without its background."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..data.orl import benchmark_pairs
from ..errors import DataError
from ..evaluation.verification import fit_threshold
from ..faces import EYE_DISTANCE, SIZE, Faces, crops_of, masking
from ..recognition import as_recogniser
from ..transforms import CLEAN, benchmark
from .base import Scorer, register
from .dbcnn import DBCNN
from .ser_fiq import Calibration, SerFiq

_CHOICES = {"region": (*masking.REGIONS, "mean", None), "fill": masking.FILLS, "train_on": ("masked", "faces")}


@register("cafi")
class Cafi(Scorer):
    """SER-FIQ gate, then DBCNN on the face without its background.

    Source: the CAFI pipeline (course notebook 14). A face passes the gate when its calibrated SER-FIQ score, the
    probability of being matched, is at least `gate`. Then all but the hull of its 68 landmarks becomes black, and DBCNN
    judges what is left: that is the score. `assess` gives the decision, its reason and the head's pose; a refused face
    has no score there. `score_samples` has to order all faces: a refused one gets its gate value minus 1, below 0 and
    so below every face that passed, whose scores are cut off at 0.

    **Faithful**: the order of the parts, T = 100, the black hull, pose by solvePnP, nothing below 112 x 112 pixels,
    landmarks and masks at 384 x 384. **Changed**: the gate's threshold is one of the calibrated score, since 0.5 of the
    raw one means nothing with another recogniser; DBCNN is this course's, whose input is the canonical crop of 192
    pixels, and learns on masked faces, since a network trained on whole pictures has never seen black ground (notebook
    13); the pose is that of the aligned crop, with the roll that alignment took out added where it is known.

    **Blind**: the gate to what SER-FIQ overlooks (an object before the face, for example); the judge to what DBCNN
    overlooks. The outline of the hull moves the score about half as much as good faces differ from each other
    (notebook 14).

    Parameters
    ----------
    gate : float or None, default=0.7
        The least probability (0..1) that passes; None: no gate. With dlib on degraded bundled faces 0.7 refuses about
        one in eight (notebook 14), and 0.5 none: there SER-FIQ knows too little to say that a match is unlikely.
    region : {"hull", "ellipse", "mean", None}, default="hull"
        What is kept of the face: see `masking`. "mean" is one hull for all, that of the training people's mean
        landmarks; None: no mask. Both are controls.
    fill : {"black", "grey", "blurred"}, default="black"
        What takes the place of the rest.
    train_on : {"masked", "faces"}, default="masked"
        What DBCNN learns on: masked faces, as it will see them; or whole crops, as CAFI's did.
    quality : dict, default=None
        Parameters of `DBCNN` other than its defaults.
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
    recogniser : str or Recogniser, default="dlib"
        Whose embeddings the gate uses.
    random_state : int, default=0
        Randomness of the copies, of SER-FIQ and of DBCNN.

    Attributes
    ----------
    dbcnn_ : DBCNN
        The judge.
    calibration_ : Calibration
        From SER-FIQ scores to probabilities.
    threshold_ : float
        Decision threshold of the recogniser, from the training people.
    mean_points_ : array (68, 2)
        Mean landmarks of the training people, in pixels of the crop.
    """

    learns = True
    claims = ("uneven_light", "motion_blur", "over_exposure", "low_light", "sensor_noise", "occlusion", "sunglasses")
    cost = "one embedding, 68 landmarks, two networks"
    silent = ("gate", "min_size")
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

    # --- learning

    def fit(self, faces, identities=None):
        """Calibrate the gate and train DBCNN.

        Parameters
        ----------
        faces : Faces
            With identities: the calibration needs two pictures of a person, and several people.
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
        if (faces.identities == "").any() or len(set(faces.identities)) < 2:
            raise DataError("the gate is calibrated on matches: faces of at least two known people are needed")
        if self.max_faces is not None and self.max_faces < len(faces):
            faces = faces[np.unique(np.linspace(0, len(faces) - 1, self.max_faces).round().astype(int))]
        recogniser = as_recogniser(self.recogniser)
        self.calibration_, self.threshold_ = calibrate_gate(
            faces, self._ser_fiq(recogniser), fmr=self.fmr, n_copies=self.n_copies, random_state=self.random_state
        )
        clean = faces if "kind" not in faces.attributes else faces[(faces.attributes["kind"] == CLEAN).to_numpy()]
        self.mean_points_ = masking.crop_landmarks(clean).mean(0)
        whole = self.train_on == "faces" or self.region is None
        self.dbcnn_ = self._blank_dbcnn().fit(faces, change=None if whole else self.masked)
        return self

    def _check(self):
        if self.gate is not None and not 0 <= self.gate <= 1:
            raise DataError(f"gate must be a probability or None, not {self.gate!r}")
        for name, known in _CHOICES.items():
            if (given := getattr(self, name)) not in known:
                raise DataError(f"there is no {name} {given!r}; known: {', '.join(map(str, known))}")

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
        return masking.masked_crops(images, region, self.fill, points=points)

    def gate_values(self, faces):
        """Probability of being matched, by the calibrated SER-FIQ score of each face: (N,) float64 in 0..1."""
        ser_fiq = self._ser_fiq(as_recogniser(self.recogniser))
        return self.calibration_(ser_fiq.score_samples(crops_of(faces)))

    def _passes(self, values):
        return np.ones(len(values), bool) if self.gate is None else values >= self.gate

    def _score(self, images, faces):
        if self.gate is None:
            return self._quality(images)
        values = self.gate_values(images)
        passed = self._passes(values)
        scores = values - 1
        scores[passed] = self._quality(images[passed])
        return scores

    def _quality(self, images, points=None):
        if len(images) == 0:
            return np.zeros(0)
        return np.maximum(self.dbcnn_.score_samples(self.masked(images, points)), 0)

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
                enlarged = masking.at_size(where, masking.WORKING_SIZE)
                pose[:] = masking.head_pose(enlarged, (masking.WORKING_SIZE, masking.WORKING_SIZE))
                pose[2] += roll
            except DataError:  # landmarks that no head explains: the face is scored without a pose
                pass
        return poses

    # --- kept in a file

    def get_state(self):
        """What the gate and DBCNN learned: dict of name -> array."""
        arrays = {f"dbcnn.{name}": value for name, value in self.dbcnn_.get_state().items()}
        calibration = np.array([self.calibration_.slope, self.calibration_.middle])
        return arrays | {"calibration": calibration, "threshold": self.threshold_, "mean_points": self.mean_points_}

    def set_state(self, arrays):
        """Restore what `get_state` returned."""
        dbcnn = self._blank_dbcnn()
        dbcnn.set_state({n.removeprefix("dbcnn."): value for n, value in arrays.items() if n.startswith("dbcnn.")})
        slope, middle = arrays["calibration"]
        self.mean_points_ = np.asarray(arrays["mean_points"], float).reshape(68, 2)
        self.threshold_ = float(arrays["threshold"])
        self.dbcnn_, self.calibration_ = dbcnn, Calibration(slope, middle)


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
