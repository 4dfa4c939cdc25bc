"""Training of FaceQgen's networks: the choice of targets, and the game of generator and discriminator.

The networks are those of `unet_gan`; `restorer.Restorer` is the estimator around this.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .. import weights
from ..cache import content_key
from ..data.training_sets import identified, is_clean
from ..errors import DataError, WeightsError
from ..faces import SIZE, DlibHog, Faces
from ..recognition import as_recogniser
from ..transforms.degradations import random_degradations
from .fit import training_loop
from .unet_gan import (
    Discriminator,
    Generator,
    adversarial_loss,
    discriminator_loss,
    embed_luma,
    identity_loss,
    luminance,
)

SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Severities of the degraded copies in training; up to two kinds together."""
BALANCE = 0.8
"""The discriminator is not updated in a step in which its accuracy on patches has already reached this share."""
AS_HANDED_IN = 0.25
"""Share of a batch that is not degraded."""
WARM_UP = 50
"""Steps over which the learning rate rises."""
CHECKPOINT_EVERY = 50
"""Steps between two checkpoints."""
HISTORY = ("l1", "adversarial", "identity", "discriminator", "accuracy", "updated")
"""Columns of the history of a training."""

# --- the best photograph of each person


def choose_targets(faces, identities=None):
    """The row of each person's best photograph, which restorations of that person should look like.

    The rule: of the person's candidates, the one that dlib's frontal-face detector scores highest when it is run again
    on the crop; of equals, the first. The detector knows upright frontal faces, evenly lit and uncovered, and nothing
    else. Candidates are, by the attributes of the faces,

    - those marked in a column `target` (bool), where there is one;
    - frontal mugshots, where `kind` says "mugshot" (as `data.load_scface` does);
    - clean faces (`kind` "clean", or no such column); all faces of a person who has no clean one.

    Parameters
    ----------
    faces : Faces or array (N, 192, 192, 3) uint8
        Of at least two people.
    identities : sequence of N str, default=None
        Who is shown. None: taken from `Faces`.

    Returns
    -------
    (array (P,) str, array (P,) int)
        The people in sorted order, and their rows.

    Raises
    ------
    DataError
        A face has no identity, or a person has no marked photograph or no mugshot.
    """
    faces = identified(faces, identities)
    allowed, people = _candidates(faces), np.unique(faces.identities)
    if lacking := [str(p) for p in people if not allowed[faces.identities == p].any()]:
        raise DataError(f"no photograph of {', '.join(lacking[:5])} may be the target: mark one in the column target")
    detector = DlibHog(working_side=SIZE, threshold=-1.5, margin=0, turned=False)
    scores = np.full(len(faces), -np.inf)
    for row in np.flatnonzero(allowed):
        scores[row] = max((found.score for found in detector(faces.images[row])), default=detector.threshold)
    rows = [np.flatnonzero((faces.identities == p) & allowed) for p in people]
    return people, np.array([own[np.argmax(scores[own])] for own in rows])


def _candidates(faces):
    """(N,) bool: which faces may be a target."""
    table = faces.attributes
    if "target" in table:
        return table["target"].fillna(False).to_numpy(bool)
    if "kind" in table and (table["kind"] == "mugshot").any():
        frontal = table["pose"].astype(object) == "frontal" if "pose" in table else True
        return ((table["kind"].astype(object) == "mugshot") & frontal).to_numpy(bool)
    clean = is_clean(faces)
    return clean | ~np.isin(faces.identities, faces.identities[clean])


# --- training


class GanTraining:
    """One training run of the two networks.

    Its state after any step can be saved and resumed. What a step draws depends on its number alone, so a resumed run
    makes the same steps.

    Parameters
    ----------
    settings : RestorerParameters
        Parameters of the run.
    faces : Faces
        Training faces, each with an identity.
    """

    def __init__(self, settings, faces):
        self.settings, self.device = settings, torch.device(chosen_device(settings.device))
        self.people, rows = choose_targets(faces)
        parameters = repr(settings.get_params())
        self.key = content_key(parameters, faces.images.tobytes(), list(faces.identities), rows.tolist())
        self.targets = luminance(faces.images[rows], settings.size)
        self.inputs, origin = self._training_inputs(faces, rows)
        self.pictures = luminance(self.inputs.images, settings.size)
        self.pools = self._pools(origin)
        self._prepare_identity(faces.images, rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.random_state)
            self.generator, self.discriminator = Generator(settings.width), Discriminator()
        for module in (self.generator, self.discriminator):
            module.to(self.device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.generator)
        self.for_generator = torch.optim.Adam(self.generator.parameters(), settings.rate, (0.5, 0.99))
        self.for_discriminator = torch.optim.Adam(self.discriminator.parameters(), settings.rate / 5, (0.5, 0.99))
        self.history, self.snapshots = [], {}

    def _training_inputs(self, faces, rows):
        """Faces to restore, and the origin of each: 0 as handed in, 1 any copy, 2 a copy of a best photograph."""
        clean, settings = is_clean(faces), self.settings
        if not clean.all():
            source = faces.attributes.get("source", pd.Series([None] * len(faces)))
            return faces, np.where(clean, 0, 1 + source.isin(faces.names[rows]).to_numpy())
        plain = Faces(faces.images, faces.identities, faces.names)
        how = {"severities": SEVERITIES, "max_together": 2}
        copies = random_degradations(plain, settings.n_copies, random_state=settings.random_state, **how)
        own = random_degradations(plain[rows], settings.n_own, random_state=settings.random_state + 1, **how)
        own = Faces(own.images, own.identities, [f"best|{name}" for name in own.names], own.attributes)
        return Faces.concat([plain, copies, own]), np.repeat([0, 1, 2], [len(plain), len(copies), len(own)])

    def _pools(self, origin):
        """For each person the rows of each origin; where there are none, all rows of the person."""
        own = [np.flatnonzero(self.inputs.identities == person) for person in self.people]
        pools = [[rows[origin[rows] == kind] for kind in range(3)] for rows in own]
        return [[pool if len(pool) else np.concatenate(person) for pool in person] for person in pools]

    def _prepare_identity(self, images, rows):
        """Embeddings of the best photographs, as they are and mirrored (2, P, dim), and the centre of all faces."""
        self.best = None
        if not (self.settings.identity and self.settings.n_identity):
            return
        self.recogniser = recogniser = as_recogniser(self.settings.recogniser)
        recogniser.head  # noqa: B018 - raises an error with a reason where there is no torch network
        both = [recogniser.embed(images[rows]), recogniser.embed(np.ascontiguousarray(images[rows][:, :, ::-1]))]
        self.best = torch.from_numpy(np.stack(both)).to(self.device)
        self.centre = torch.from_numpy(recogniser.embed(images).mean(0)).to(self.device)
        if torch.device(recogniser.device) != self.device:  # a copy: the shared one stays where it is
            self.recogniser = recogniser = copy.deepcopy(recogniser)
            recogniser.module.to(self.device)
            recogniser.device = self.device
            if hasattr(recogniser, "_mean"):
                recogniser._mean = recogniser._mean.to(self.device)

    def train(self, checkpoint=None):
        """All steps of the run, or those that a checkpoint lacks. An epoch of the loop is one step of this game."""
        settings, n_parts = self.settings, self.settings.n_snapshots + 1
        snapshots = {settings.n_steps * i // n_parts for i in range(1, n_parts)}

        def after_step(done, loss):
            if done in snapshots:
                layers = weights.module_state(self.averaged)
                self.snapshots[done] = {name: value.astype(np.float16) for name, value in layers.items()}
            if checkpoint is not None and done % CHECKPOINT_EVERY == 0 and done < settings.n_steps:
                self.save(checkpoint)

        training_loop(
            self.step,
            lambda epoch: [[epoch - 1]],
            epochs=settings.n_steps,
            first=0 if checkpoint is None else self.resume(checkpoint),
            after_epoch=after_step,
            progress="restoration" if settings.verbose else None,
        )
        if checkpoint is not None:
            Path(checkpoint).unlink(missing_ok=True)

    def draw(self, number):
        """The batch of a step: inputs and best photographs (B, 1, S, S), and embeddings of the latter or None."""
        settings, size = self.settings, self.settings.batch_size
        rng = np.random.default_rng([settings.random_state, number])
        person = rng.integers(len(self.people), size=size)
        degraded = rng.random(size) >= AS_HANDED_IN
        origin = degraded * (1 + (rng.random(size) < settings.own_share))
        rows = [rng.choice(self.pools[p][o]) for p, o in zip(person, origin, strict=True)]
        mirrored = rng.random(size) < 0.5
        pair = (self.pictures[rows], self.targets[person])
        pair = (np.where(mirrored[:, None, None], x[:, :, ::-1], x)[:, None] for x in pair)
        x, t = (torch.from_numpy(pictures).to(self.device) for pictures in pair)
        if self.best is None:
            return x, t, None
        return x, t, self.best[torch.from_numpy(mirrored.astype(int)), torch.from_numpy(person)]

    def step(self, batch):
        """One update of both networks, and a row of the history. `batch` holds the number of the step alone."""
        (number,), settings = batch, self.settings
        x, t, best = self.draw(number)
        restored = self.generator(x)
        on_best, on_restored = self.discriminator(t), self.discriminator(restored.detach())
        accuracy = 0.5 * float((on_best > 0.5).float().mean() + (on_restored < 0.5).float().mean())
        d_loss = discriminator_loss(on_best, on_restored)
        updated = bool(settings.adversarial) and accuracy < BALANCE
        if updated:
            self.for_discriminator.zero_grad()
            d_loss.backward()
            self.for_discriminator.step()
        losses = {"l1": (restored - t).abs().mean()}
        if settings.adversarial:
            losses["adversarial"] = adversarial_loss(self.discriminator(restored))
        if best is not None:
            seen = embed_luma(restored[: settings.n_identity], self.recogniser)
            losses["identity"] = identity_loss(seen, best[: settings.n_identity], self.centre)
        loss = sum(getattr(settings, name) * value for name, value in losses.items())
        rises, falls = min(1, (number + 1) / WARM_UP), 0.51 + 0.49 * np.cos(np.pi * number / settings.n_steps)
        self.for_generator.param_groups[0]["lr"] = settings.rate * (rises * falls)
        self.for_generator.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.for_generator.step()
        kept = min(settings.average, (1 + number) / (10 + number))
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(now, 1 - kept)
        losses["discriminator"] = d_loss
        values = [float(losses[name].detach()) if name in losses else np.nan for name in HISTORY[:4]]
        self.history.append([*values, accuracy, float(updated)])
        return float(loss.detach())

    @property
    def _modules(self):
        return {"generator/": self.generator, "discriminator/": self.discriminator, "averaged/": self.averaged}

    @property
    def _optimisers(self):
        return {"for_generator/": self.for_generator, "for_discriminator/": self.for_discriminator}

    def save(self, path):
        """Write the run as it stands: networks, optimisers, history, snapshots."""
        arrays = flat(self.snapshots, "snapshot/") | {"history": np.array(self.history, np.float64)}
        for prefix, module in self._modules.items():
            arrays |= weights.module_state(module, prefix)
        for prefix, optimiser in self._optimisers.items():
            moments = optimiser.state_dict()["state"]
            arrays |= {name: value.detach().cpu().numpy() for name, value in flat(moments, prefix).items()}
        weights.write_state(path, "restoration run", arrays, {"key": self.key})

    def resume(self, path):
        """Restore what `save` wrote; returns the number of steps done. A missing or damaged file is a new start."""
        try:
            arrays, settings = weights.read_state(path, "restoration run")
        except WeightsError:
            return 0
        if settings.get("key") != self.key:
            raise DataError(
                f"{path}: the checkpoint of another run (other faces or parameters); give another path, or delete it"
            )
        with weights.explained(path):
            for prefix, module in self._modules.items():
                weights.restore_module(module, arrays, prefix).train()
            for prefix, optimiser in self._optimisers.items():
                moments = {
                    index: {name: torch.as_tensor(value) for name, value in values.items()}
                    for index, values in numbered(arrays, prefix).items()
                }
                optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
            self.history, self.snapshots = arrays["history"].tolist(), numbered(arrays, "snapshot/")
        return len(self.history)


def chosen_device(device=None):
    """The given device; None: "cuda" where there is a GPU, else "cpu"."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def part_of(arrays, prefix):
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def flat(by_number, prefix):
    """{7: {name: array}} -> {prefix7/name: array}."""
    return {f"{prefix}{n}/{name}": value for n, arrays in by_number.items() for name, value in arrays.items()}


def numbered(arrays, prefix):
    """The inverse of `flat`, in the order of the numbers."""
    by_number = {}
    for key, value in part_of(arrays, prefix).items():
        number, _, name = key.partition("/")
        by_number.setdefault(int(number), {})[name] = value
    return dict(sorted(by_number.items()))
