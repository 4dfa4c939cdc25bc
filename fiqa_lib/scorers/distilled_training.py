"""How the weights of `distilled` come about: copies, labels of two networks, a ridge, fine-tuning.

`python -m fiqa_lib train-distilled` runs it. Work that takes long is kept in a folder, so that a run that was killed
goes on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ..errors import DataError
from ..files import whole_file
from ..labels import class_similarities, ensemble
from ..networks.fit import gradient_step, shuffled, training_loop
from ..networks.quality_trunk import FROZEN, N_FROZEN, QualityTrunk, trunk_input, with_length
from ..recognition import load_recogniser
from ..transforms.hard_copies import hard_copies

TEACHERS = ("mobilefacenet", "dlib")
"""Networks whose recognition is what the scorer learns to foresee."""
MOST = 12
"""Photographs of one person that copies are made of; people with more would decide alone."""
AT_ONCE = 20
"""Photographs whose copies are kept in one file."""
PASS = 8
"""Faces in one pass: more do not stay in a core's own memory."""


class Observer:
    """What the student and its teachers see of canonical crops."""

    def __init__(self):
        self.teachers = {name: load_recogniser(name) for name in TEACHERS}
        self.trunk = QualityTrunk(load_recogniser("mobilefacenet").module).eval()
        self.last = self.teachers["mobilefacenet"].module.last

    def __call__(self, images, quick=True):
        """Arrays over crops (N, 192, 192, 3): `statistics`, `frozen` (N, 128, 14, 14) and an embedding of each teacher.

        `quick`: in half the digits (bfloat16), for copies that are learned from; never for what is reported.
        """
        parts = [self._look(images[i : i + PASS], quick) for i in range(0, len(images), PASS)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _look(self, images, quick):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=quick):
            first, frozen = self.trunk.frozen(trunk_input(images))
            statistics = torch.cat([first, self.trunk.trained(frozen).float()], 1)
            dlib = self.teachers["dlib"]
            found = {
                "statistics": statistics.half(),
                "frozen": frozen.contiguous().half(),
                "mobilefacenet": self.last(statistics[:, -512:]).float(),
                "dlib": dlib.module(dlib.preprocess(images)).float(),
            }
        return {name: values.numpy() for name, values in found.items()}


def photographs_to_learn_from(names, people, random_state=0):
    """Positions of photographs of people who have two or more, at most `MOST` of each, in random order.

    Parameters
    ----------
    names, people : sequences of N
        Photographs and who they show.
    random_state : int, default=0
        Seed of the order.

    Returns
    -------
    array of int
    """
    people = np.asarray(people)
    found, number = np.unique(people, return_inverse=True)
    total, taken, kept = np.bincount(number), np.zeros(len(found), int), []
    for row in np.random.default_rng(random_state).permutation(len(people)):
        if total[number[row]] > 1 and taken[number[row]] < MOST:
            taken[number[row]] += 1
            kept.append(row)
    if not kept:
        raise DataError("nobody has a second photograph: there is nothing to compare with")
    return np.array(kept)


def look_at_copies(images, names, folder, observer, random_state=0, progress=lambda done: None):
    """Describe each photograph and its hard copies, into files of `AT_ONCE` photographs; files that are there stay.

    Parameters
    ----------
    images : array (N, 192, 192, 3) uint8
        Photographs, as canonical crops; it may lie on a disk.
    names : sequence of N
        What they are called: the copies of a photograph are seeded by its name.
    folder : path
        Where the files go.
    observer : callable
        Crops -> dict of arrays, an `Observer`.
    random_state : int, default=0
        Seed of the copies.
    progress : callable, default does nothing
        Called with the number of photographs that are done.

    Returns
    -------
    list of Path
    """
    folder, files = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(names), AT_ONCE):
        part = [str(name) for name in names[start : start + AT_ONCE]]
        key = hashlib.sha256("\n".join([str(random_state), *part]).encode()).hexdigest()[:16]
        files.append(folder / f"copies-{key}.npz")
        if not files[-1].is_file():
            copies = [
                (place, copy)
                for place, name in enumerate(part)
                for copy in hard_copies(np.asarray(images[start + place]), _generator(random_state, name))
            ]
            arrays = observer(np.stack([copy.image for _, copy in copies]))
            about = {
                "source": np.array([place for place, _ in copies]),
                "kinds": np.array(["+".join(copy.kinds) for _, copy in copies]),
                "yaw": np.array([copy.yaw for _, copy in copies]),
                "pitch": np.array([copy.pitch for _, copy in copies]),
            }
            with whole_file(files[-1]) as temporary, open(temporary, "wb") as file:
                np.savez(file, **arrays, **about)
        progress(min(start + AT_ONCE, len(names)))
    return files


def _generator(random_state, name):
    words = hashlib.sha256(name.encode()).digest()[:8]
    return np.random.default_rng([random_state, int.from_bytes(words, "big")])


def load_material(files, people, of_each=False):
    """What `look_at_copies` wrote, with labels.

    Parameters
    ----------
    files : sequence of path
        In the order of the photographs.
    people : sequence of N
        Who each photograph shows.
    of_each : bool, default=False
        To compare recipes: also the label by each teacher alone, "label of NAME"; without `frozen`, which is large.

    Returns
    -------
    dict of str -> array, in one order
        `statistics`, `frozen`, `source` (a photograph), `kinds`, `yaw`, `pitch` and `label`.
    """
    parts = []
    for number, file in enumerate(files):
        with np.load(file) as arrays:
            kept = {name: arrays[name] for name in arrays.files if not (of_each and name == "frozen")}
            parts.append(kept | {"source": arrays["source"] + number * AT_ONCE})
    found = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    who, clean = np.asarray(people)[found["source"]], found["kinds"] == ""
    own = {name: class_similarities(found.pop(name), who, found["source"], clean)[0] for name in TEACHERS}
    if of_each:
        found |= {f"label of {name}": ensemble([values]) for name, values in own.items()}
    return found | {"label": ensemble(own.values())}


def fit_ridge(student, statistics, label, alpha=1e5, length_counts=30):
    """Set the linear unit to the ridge regression of the label on the standardised statistics.

    Parameters
    ----------
    student : Student
        Changed in place.
    statistics : array (N, N_STATISTICS)
        Of its trunk.
    label : array (N,)
        Higher is better; no NaN.
    alpha : float, default=1e5
        The penalty.
    length_counts : float, default=30
        How much more the length of the features may weigh than another statistic, at the same penalty.

    Returns
    -------
    Student
    """
    x, y = with_length(torch.from_numpy(statistics.astype(np.float32))).numpy(), np.asarray(label, np.float32)
    mean, scale = x.mean(0), x.std(0) + 1e-3
    scale[-1] /= length_counts
    x -= mean
    x /= scale
    weight = np.linalg.solve(x.T @ x + np.float32(alpha) * np.eye(x.shape[1], dtype=np.float32), x.T @ (y - y.mean()))
    with torch.no_grad():
        for name, values in (("mean", mean), ("scale", scale), ("weight", weight)):
            getattr(student, name).copy_(torch.from_numpy(values))
        student.bias.fill_(float(y.mean()))
    return student


def fine_tune(
    student, material, *, epochs, rate=2e-4, head_rate=2e-5, batch=64, decay=0.99, random_state=0, watch=None
):
    """Train the blocks that are not frozen, and the unit, by the error and by the order of pairs in a batch.

    Parameters
    ----------
    student : Student
        After `fit_ridge`. It ends with the moving average of its weights.
    material : dict
        `statistics`, `frozen` and `label`; rows without a label are left out.
    epochs : int
        Passes over the material.
    rate, head_rate : float, default=2e-4 and 2e-5
        Learning rates of the blocks and of the unit, at the start; both fall along a cosine.
    batch : int, default=64
        Faces in a step.
    decay : float, default=0.99
        Of the moving average, for one step.
    random_state : int, default=0
        Seed of the order.
    watch : callable, default=None
        Called with (epoch, loss, the averaged student) after each epoch.

    Returns
    -------
    Student
    """
    rows = np.flatnonzero(~np.isnan(material["label"]))
    label = torch.from_numpy(material["label"].astype(np.float32))
    first, frozen = material["statistics"], material["frozen"]
    trained = [*student.trunk.blocks[FROZEN:].parameters(), *student.trunk.places.parameters()]
    head = [student.weight, student.bias]
    optimiser = torch.optim.AdamW(
        [{"params": trained, "lr": rate}, {"params": head, "lr": head_rate}], weight_decay=1e-4
    )
    steps = epochs * -(-len(rows) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 50, 0.5 * (1 + np.cos(np.pi * min(step / steps, 1))) + 0.01)
    )
    average = torch.optim.swa_utils.AveragedModel(
        student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    )

    def loss(places):
        part = rows[places.numpy()]
        wanted = label[part]
        x = torch.from_numpy(frozen[part]).float().contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found = student.after_frozen(torch.from_numpy(first[part][:, :N_FROZEN]), x)
        apart = wanted[:, None] - wanted[None]
        order = functional.softplus(-8 * torch.sign(apart) * (found[:, None] - found[None])) * (apart.abs() > 0.05)
        return 10 * functional.smooth_l1_loss(found, wanted, beta=0.1) + order.mean()

    step = gradient_step(optimiser, loss, schedule=schedule)

    def averaged_step(places):
        value = step(places)
        average.update_parameters(student)
        return value

    training_loop(
        averaged_step,
        shuffled(len(rows), batch, torch.Generator().manual_seed(random_state)),
        epochs=epochs,
        module=student,
        after_epoch=None if watch is None else lambda epoch, value: watch(epoch, value, average.module),
    )
    student.load_state_dict(average.module.state_dict())
    return student
