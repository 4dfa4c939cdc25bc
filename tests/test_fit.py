"""The training loop: its history, early stopping, parts of a batch, and going on after an interruption."""

import numpy as np
import pytest
import torch

from fiqa_lib.errors import DataError
from fiqa_lib.networks.fit import check_whole_numbers, fit_rows, gradient_step, shuffled, training_loop


def line(n=50):
    """Rows on a noisy plane, and a linear layer that starts at zero."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(n, generator=generator)
    module = torch.nn.Linear(3, 1)
    torch.nn.init.zeros_(module.weight)
    torch.nn.init.zeros_(module.bias)
    return module, x, y


def step_of(module, x, y, **options):
    optimiser = torch.optim.SGD(module.parameters(), 0.05)
    return gradient_step(optimiser, lambda rows: (module(x[rows])[:, 0] - y[rows]).square().mean(), **options)


def run(epochs=6, at_once=None, batches=None, **options):
    module, x, y = line()
    batches = batches or shuffled(len(x), 16, torch.Generator().manual_seed(2))
    return module, training_loop(
        step_of(module, x, y, at_once=at_once), batches, epochs=epochs, module=module, **options
    )


def test_history_is_the_mean_loss_of_all_rows():
    _, _, y = line()
    seen = []

    def step(rows):
        seen.append(rows)
        return float((y[rows] ** 2).mean())

    batches = shuffled(50, 16, torch.Generator().manual_seed(0))
    (_, first, _), (number, second, validation) = training_loop(step, batches, epochs=2)
    assert [len(rows) for rows in seen] == [16, 16, 16, 2] * 2 and number == 2 and np.isnan(validation)
    for epoch in (seen[:4], seen[4:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(50))
    assert not torch.equal(seen[0], seen[4])
    assert first == pytest.approx(float((y**2).mean())) and second == pytest.approx(first)


def test_parts_of_a_batch_give_its_gradient():
    whole, history = run()
    parts, same = run(at_once=5)
    torch.testing.assert_close(parts.weight, whole.weight)
    np.testing.assert_allclose(np.array(same)[:, 1], np.array(history)[:, 1], rtol=1e-5)
    assert history[-1][1] < 0.5 * history[0][1] and not whole.training


def test_the_best_weights_come_back_and_patience_ends_the_run():
    module, x, y = line()
    losses, weights = iter([5.0, 3.0, 4.0, 4.0, 1.0]), []
    history = training_loop(
        step_of(module, x, y),
        shuffled(len(x), 16, torch.Generator().manual_seed(2)),
        epochs=10,
        module=module,
        validate=lambda: next(losses),
        patience=2,
        after_epoch=lambda epoch, loss: weights.append(module.weight.detach().clone()),
    )
    assert [row[2] for row in history] == [5, 3, 4, 4]
    assert torch.equal(module.weight, weights[1]) and not torch.equal(module.weight, weights[3])


def test_it_goes_on_after_the_epochs_that_are_done():
    def batches(epoch):
        return [torch.arange(epoch, epoch + 5)]

    whole, _ = run(epochs=4, batches=batches)
    module, x, y = line()
    step = step_of(module, x, y)
    training_loop(step, batches, epochs=2, module=module)
    history = training_loop(step, batches, epochs=4, first=2, module=module)
    assert [row[0] for row in history] == [3, 4]
    assert torch.equal(module.weight, whole.weight)


def test_a_bar_only_when_it_has_a_label(capsys):
    run()
    assert capsys.readouterr().err == ""
    run(progress="learning")
    assert "learning" in capsys.readouterr().err


def test_without_held_out_rows_all_epochs_run():
    module, x, y = line()
    settings = {"patience": 1, "learning_rate": 0.1, "batch_size": 16, "generator": torch.Generator().manual_seed(0)}
    history = fit_rows(
        module, lambda a, b: (module(a)[:, 0] - b).abs().mean(), [x, y], [x[:0], y[:0]], epochs=7, **settings
    )
    assert len(history) == 7 and all(np.isnan(row[2]) for row in history)


def test_whole_numbers_are_named():
    class Settings:
        epochs, patience = 3, 0.5

    check_whole_numbers(Settings, epochs=3)
    for wrong in ({"epochs": 4}, {"patience": 0}):
        with pytest.raises(DataError, match=f"{next(iter(wrong))} must be a whole number"):
            check_whole_numbers(Settings, **wrong)
