"""Recording loops of torch: states, learning rates of every step, and going on after a stop."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skinfluence.checkpoints import CheckpointRecorder, read_checkpoints
from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

X = torch.randn(24, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = X[:, :1] - X[:, 1:2].square()


def network(seed=0, width=4):
    torch.manual_seed(seed)
    layers = (nn.Linear(3, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 1))
    return nn.Sequential(*layers).double()


def train(net, optimizer, steps, *, after=lambda: None, scheduler=None):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(X) - Y).square().mean()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        after()


OPTIMIZERS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.1), 0.1),
    "SGD, momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1.0),
    "SGD, dampening": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
        0.5,
    ),
    "SGD, Nesterov": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), 1.0),
    "SGD, dampening without momentum": (
        lambda p: torch.optim.SGD(p, lr=0.1, dampening=0.5),
        0.1,
    ),
    "Adam": (lambda p: torch.optim.Adam(p, lr=0.01), 0.01),
    "AdamW": (lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01), foreach=False), 0.01),
}


@pytest.mark.parametrize("name", ["SGD", "SGD, dampening without momentum", "Adam", "AdamW"])
def test_the_way_is_the_sum_of_the_rates_of_every_step(name):
    make, rate = OPTIMIZERS[name]
    net = network()
    optimizer = make(net.parameters())
    schedule = [1.0, 0.5, 0.25, 0.25, 2.0]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: (*schedule, 1.0)[k])
    recorder = CheckpointRecorder(every=2, n_rows=24)
    with recorder.watch(net, optimizer):
        train(net, optimizer, 5, scheduler=scheduler)
    found = recorder.checkpoints
    assert found.steps == [0, 2, 4, 5] and found.n_rows == 24
    assert found.optimizer.name == name.partition(",")[0]
    assert found.plain == name.startswith("SGD")
    for item in found:
        assert set(item.path) == {key for key, _ in net.named_parameters()}
        assert_allclose(list(item.path.values()), rate * sum(schedule[: item.step]), rtol=1e-6)
    assert found[0].learning_rate is None
    assert_allclose(found[1].learning_rate["0.weight"], rate * 0.5, rtol=1e-6)


def constant(optimizer, steps, scheduler=None):
    """Steps along a gradient that stays the same."""
    for _ in range(steps):
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.full_like(p, -2.0)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name.startswith("SGD")])
def test_a_constant_gradient_moves_as_far_as_the_rates_say(name):
    theta = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(theta.weight)
    optimizer = OPTIMIZERS[name][0](theta.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 + (k % 3))
    recorder = CheckpointRecorder()
    with recorder.watch(theta, optimizer):
        constant(optimizer, 7, scheduler)
    for item in recorder.checkpoints:
        moved = float(item.parameters["weight"][0, 0])
        assert_allclose(2.0 * item.path["weight"], moved, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name.startswith("SGD")])
def test_momentum_is_carried_on_after_a_stop(name):
    """In the long run a rate counts (1 - dampening) / (1 - momentum) times."""
    make, rate = OPTIMIZERS[name]
    theta = nn.Linear(1, 1, bias=False).double()
    optimizer = make(theta.parameters())
    recorder = CheckpointRecorder(every=1000)
    for steps in (300, 1, 1):
        with recorder.watch(theta, optimizer):
            constant(optimizer, steps)
    assert_allclose(recorder.checkpoints[-1].learning_rate["weight"], rate, rtol=1e-9)
    way = [item.path["weight"] for item in recorder.checkpoints]
    assert_allclose(np.diff(way[-2:]), rate, rtol=1e-9)


def test_groups_have_their_own_way_and_what_is_not_trained_has_none():
    net = network()
    groups = [{"params": net[0].parameters(), "lr": 0.5}, {"params": [net[3].weight]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    recorder = CheckpointRecorder()
    with recorder.watch(net, optimizer):
        train(net, optimizer, 2)
        optimizer.add_param_group({"params": [net[3].bias], "lr": 7.0})
        train(net, optimizer, 1)
    path = recorder.checkpoints[-1].path
    assert_allclose([path["0.weight"], path["0.bias"], path["3.weight"]], [1.5, 1.5, 0.3])
    assert path["3.bias"] == 7.0 and path["1.weight"] == 0.0
    shares = recorder.checkpoints.shares()
    assert_allclose(sum(share["0.weight"] for share in shares), 1.5, rtol=1e-12)


def test_states_are_those_of_their_steps_and_copies():
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    seen = []

    def look():
        state = net.state_dict() | {"second": optimizer.state[net[0].weight]["exp_avg_sq"]}
        seen.append({key: value.detach().clone().numpy() for key, value in state.items()})

    recorder = CheckpointRecorder()
    with recorder.watch(net, optimizer):
        train(net, optimizer, 3, after=look)
    for item, state in zip(recorder.checkpoints[1:], seen, strict=True):
        for name, values in (*item.parameters.items(), *item.buffers.items()):
            assert_array_equal(values, state[name])
        assert_array_equal(item.optimizer["0.weight"]["exp_avg_sq"], state["second"])
        assert item.optimizer["0.weight"]["step"] == item.step
    assert set(recorder.checkpoints[0].buffers) == {
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }


def test_without_the_optimizers_state():
    net = network()
    recorder = CheckpointRecorder(optimizer_state=False)
    optimizer = torch.optim.Adam(net.parameters())
    with recorder.watch(net, optimizer):
        train(net, optimizer, 1)
    assert recorder.checkpoints[-1].optimizer is None


def halving(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def watched():
    net, recorder = network(), CheckpointRecorder()
    optimizer, scheduler = halving(net)
    with recorder.watch(net, optimizer):
        train(net, optimizer, 4, scheduler=scheduler)
    return recorder.checkpoints


def recorded(at_first):
    """The same by hand, where record comes after the scheduler has set the next step's rate."""
    net, recorder = network(), CheckpointRecorder()
    optimizer, scheduler = halving(net)
    if at_first == "after":
        train(net, optimizer, 1)
        recorder.record(net, optimizer)
        scheduler.step()
    else:
        recorder.record(net, optimizer, step=0 if at_first == "step" else None)
    done = at_first == "after"

    def after():
        recorder.record(net, optimizer)

    train(net, optimizer, 4 - done, after=after, scheduler=scheduler)
    return recorder.checkpoints


@pytest.mark.parametrize("at_first", ["before", "after", "step"])
def test_record_by_hand_is_the_same_as_watching(at_first):
    found = recorded(at_first)
    expected = watched()[-len(found) :]
    assert found.steps == expected.steps == [0, 1, 2, 3, 4][at_first == "after" :]
    for one, other in zip(expected, found, strict=True):
        assert_allclose(list(one.path.values()), list(other.path.values()), rtol=1e-12)
        assert_array_equal(one.parameters["0.weight"], other.parameters["0.weight"])


def test_steps_between_calls_of_record_are_counted():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = CheckpointRecorder(keep=3)
    recorder.record(net, optimizer, step=0)
    for _ in range(6):
        train(net, optimizer, 10)
        recorder.record(net, optimizer, loss=1.0)
    recorder.keep_last(net, optimizer)
    found = recorder.checkpoints
    assert found.steps[0] == 0 and found.steps[-1] == 60 and len(found) <= 3
    assert_allclose(found[-1].path["0.weight"], 6.0, rtol=1e-12)
    with pytest.raises(ValueError, match=r"step=7 is passed, and 60 steps were counted"):
        recorder.record(net, optimizer, step=7)


def test_rates_that_are_told():
    net = network()
    recorder = CheckpointRecorder()
    recorder.record(net)
    recorder.record(net, learning_rate=0.5)
    recorder.record(net, learning_rate={"0.weight": 0.25}, step=4)
    assert recorder.checkpoints.steps == [0, 1, 4]
    path = recorder.checkpoints[-1].path
    assert path["0.weight"] == 0.5 + 3 * 0.25 and path["0.bias"] == 0.5
    with pytest.raises(ValueError, match="learning_rate names 'w', and the model has no such"):
        recorder.record(net, learning_rate={"w": 0.25})
    with pytest.raises(ValueError, match="a rate is a finite number that is not negative"):
        recorder.record(net, learning_rate=-1.0)


def test_rates_that_nobody_knows_are_not_made_up():
    net = network()
    recorder = CheckpointRecorder()
    for _ in range(3):
        recorder.record(net)
    assert [item.path for item in recorder.checkpoints[1:]] == [None, None]
    lbfgs = torch.optim.LBFGS(net.parameters())
    recorder = CheckpointRecorder()
    with recorder.watch(net, lbfgs):
        lbfgs.zero_grad()
        (net(X) - Y).square().mean().backward()
        lbfgs.step(lambda: (net(X) - Y).square().mean())
    assert recorder.checkpoints[-1].path is None
    with pytest.raises(ValueError, match="are not recorded"):
        recorder.checkpoints.shares()


def test_an_optimizer_of_ones_own_is_not_taken_for_torchs():
    class Inherits(torch.optim.SGD):
        pass

    class Signs(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    net = network()
    for cls, name in ((Inherits, "SGD"), (Signs, "Signs")):
        recorder = CheckpointRecorder()
        with recorder.watch(net, cls(net.parameters(), lr=0.1)):
            pass
        assert recorder.checkpoints.optimizer.name == name
        assert recorder.checkpoints.plain == (name == "SGD")


def test_steps_before_a_stop_are_kept_and_the_hook_is_taken_off():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = CheckpointRecorder(every=100)
    with pytest.raises(KeyboardInterrupt), recorder.watch(net, optimizer):
        train(net, optimizer, 3)
        raise KeyboardInterrupt
    assert recorder.checkpoints.steps == [0, 3]
    train(net, optimizer, 2)
    assert recorder.checkpoints.steps == [0, 3]
    # A second stretch goes on, where the steps between are not its own.
    with recorder.watch(net, optimizer):
        train(net, optimizer, 2)
    recorder.keep_last(net, optimizer)
    assert recorder.checkpoints.steps == [0, 3, 5]
    assert_allclose(recorder.checkpoints[-1].path["0.weight"], 0.5, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept_exactly_as_float32(dtype, tmp_path):
    net = network().to(dtype)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    recorder = CheckpointRecorder(tmp_path)
    with recorder.watch(net, optimizer):
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    before = [p.detach().clone() for p in net.parameters()]
    assert recorder.checkpoints[-1].parameters["0.weight"].dtype == np.float32
    again = network(1).to(dtype)
    other = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.5)
    CheckpointRecorder(tmp_path).restore(again, other)
    for one, two in zip(before, again.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert other.state[again[0].weight]["momentum_buffer"].dtype == dtype


@pytest.mark.parametrize("name", ["SGD, momentum", "Adam", "AdamW"])
@pytest.mark.parametrize("in_files", [False, True])
def test_a_restored_training_goes_on_as_if_it_had_not_stopped(name, in_files, tmp_path):
    make = OPTIMIZERS[name][0]
    whole = network()
    train(whole, make_whole := make(whole.parameters()), 12)
    assert make_whole.state
    directory = tmp_path / "run" if in_files else None
    recorder = CheckpointRecorder(directory, every=3, keep=4)
    net = network()
    optimizer = make(net.parameters())
    with recorder.watch(net, optimizer, n_rows=24):
        train(net, optimizer, 7)
    if in_files:
        recorder = CheckpointRecorder(directory, every=3, keep=4)
    again = network(1)
    optimizer = make(again.parameters())
    assert recorder.restore(again, optimizer) == 7
    with recorder.watch(again, optimizer):
        train(again, optimizer, 5)
    for one, two in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    found = recorder.checkpoints
    assert found.steps[0] == 0 and found.steps[-1] == 12 and len(found) <= 4
    rates = OPTIMIZERS[name][1] * (1 - 0.9 ** np.arange(1, 13) * (name == "SGD, momentum"))
    assert_allclose(found[-1].path["0.weight"], rates.sum(), rtol=1e-6)
    assert found.n_rows == 24


def test_record_goes_on_after_restore():
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    recorder = CheckpointRecorder()
    with recorder.watch(net, optimizer):
        train(net, optimizer, 2)
    recorder.restore(net, optimizer)
    recorder.record(net, optimizer)
    train(net, optimizer, 1, after=lambda: recorder.record(net, optimizer))
    assert recorder.checkpoints.steps == [0, 1, 2, 3]
    assert_allclose(recorder.checkpoints[-1].path["0.weight"], 0.03, rtol=1e-12)


def test_two_trainings_are_not_mixed(tmp_path):
    net = network()
    recorder = CheckpointRecorder(tmp_path)
    with recorder.watch(net, torch.optim.SGD(net.parameters(), lr=0.1)):
        pass
    with pytest.raises(ValueError, match="has recorded another Sequential"):
        recorder.record(network())
    copied = copy.deepcopy(recorder)
    with pytest.raises(ValueError, match=r"holds 1 checkpoints up to step 0. Call restore"):
        copied.record(network())
    with pytest.raises(ValueError, match=r"holds 1 checkpoints up to step 0. Call restore"):
        CheckpointRecorder(tmp_path).record(net)


def test_one_watch_at_a_time():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = CheckpointRecorder(every=10)
    with recorder.watch(net, optimizer):
        train(net, optimizer, 3)
        with pytest.raises(ValueError, match="watches a training already"):
            recorder.watch(net, optimizer).__enter__()
        train(net, optimizer, 4)
    assert recorder.checkpoints.steps == [0, 7]
    assert_allclose(recorder.checkpoints[-1].path["0.weight"], 0.7, rtol=1e-12)


@pytest.mark.parametrize(("second", "name"), [("SGD", "SGD"), ("Adam", "SGD and Adam")])
def test_optimizers_one_after_the_other(second, name):
    net = network()
    recorder = CheckpointRecorder()
    for make in (OPTIMIZERS["SGD"][0], OPTIMIZERS[second][0]):
        optimizer = make(net.parameters())
        with recorder.watch(net, optimizer):
            train(net, optimizer, 2)
    found = recorder.checkpoints
    assert found.optimizer.name == name and found.plain == (second == "SGD")
    assert_allclose(found[-1].path["0.weight"], 0.2 + 2 * OPTIMIZERS[second][1], rtol=1e-12)


def test_optimizers_that_take_turns():
    net = network()
    first, second = (torch.optim.SGD(net[k].parameters(), lr=0.1 + k) for k in (0, 3))
    recorder = CheckpointRecorder()
    recorder.record(net)
    for _ in range(4):
        for optimizer in (first, second):
            train(net, optimizer, 1)
            recorder.record(net, optimizer)
    path = recorder.checkpoints[-1].path
    assert_allclose([path["0.weight"], path["3.weight"]], [0.4, 12.4], rtol=1e-12)


def test_steps_that_were_counted_are_not_lost_to_another_optimizer():
    net = network()
    first, second = (torch.optim.SGD(net.parameters(), lr=lr) for lr in (0.1, 1.0))
    recorder = CheckpointRecorder(at=[1000])
    recorder.record(net, first, step=0)
    train(net, first, 5)
    recorder.record(net, second, step=5)
    train(net, second, 2)
    recorder.keep_last(net, second)
    assert_allclose(recorder.checkpoints[-1].path["0.weight"], 2.5, rtol=1e-12)


def test_another_architecture_is_not_restored():
    net = network()
    recorder = CheckpointRecorder()
    recorder.record(net)
    with pytest.raises(
        ValueError, match=r"'0.weight' is of shape \(4, 3\) there and of shape \(6"
    ):
        recorder.restore(network(width=6))
    with pytest.raises(ValueError, match=r"'1.weight' is of shape \(4,\) there and missing here"):
        recorder.restore(nn.Sequential(nn.Linear(3, 4)))
    with pytest.raises(ValueError, match="There is no checkpoint to restore yet"):
        CheckpointRecorder().restore(net)


def test_wrappers_change_no_name():
    net = network()
    wrapped = nn.DataParallel(net)
    recorder = CheckpointRecorder()
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    with recorder.watch(wrapped, optimizer):
        train(net, optimizer, 1)
    assert set(recorder.checkpoints[0].parameters) == {name for name, _ in net.named_parameters()}


def test_shared_parameters_are_there_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    recorder = CheckpointRecorder()
    recorder.record(net)
    assert list(recorder.checkpoints[0].parameters) == ["0.weight", "0.bias", "1.bias"]


def test_buffers_that_a_module_does_not_save_are_not_kept():
    net = network()
    net.register_buffer("scratch", torch.ones(2), persistent=False)
    recorder = CheckpointRecorder()
    recorder.record(net)
    assert "scratch" not in recorder.checkpoints[0].buffers


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda r, n: r.record(n, "adam"), TypeError, "The optimiser is a str"),
        (
            lambda r, n: r.record(n, torch.optim.SGD(network().parameters(), lr=1.0)),
            ValueError,
            "moves no parameter of this Sequential",
        ),
        (lambda r, n: r.record({"w": 1}), TypeError, "The model is a dict"),
        (lambda r, n: r.record(nn.LazyLinear(2)), ValueError, "is lazy and has no values yet"),
    ],
)
def test_what_cannot_be_recorded_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(CheckpointRecorder(), network())


def test_watch_needs_an_optimizer_of_torch():
    with (
        pytest.raises(TypeError, match=r"this is a object. Call record\(model, learning_rate"),
        CheckpointRecorder().watch(network(), object()),
    ):
        pass


def test_modules_that_cannot_be_pickled_are_recorded(tmp_path):
    net = network()
    net.handle = (value for value in ())
    with pytest.raises(TypeError):
        pickle.dumps(net)
    recorder = CheckpointRecorder(tmp_path)
    with recorder.watch(net, torch.optim.SGD(net.parameters(), lr=0.1)):
        pass
    assert pickle.loads(pickle.dumps(recorder)).checkpoints.steps == [0]
    assert read_checkpoints(tmp_path).steps == [0]


def test_losses_are_noted():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = CheckpointRecorder()
    with recorder.watch(net, optimizer) as watching:
        for _ in range(4):
            optimizer.zero_grad()
            loss = (net(X) - Y).square().mean()
            loss.backward()
            watching.note_loss(loss)
            optimizer.step()
    losses = [item.loss for item in recorder.checkpoints]
    assert losses[0] is None and losses[-1] == float(loss.detach())
    assert len(recorder.checkpoints.largest_drops(2)) == 2


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return self.inner(x)


def skorch_net(recorder, **options):
    skorch = import_optional("skorch")
    return skorch.NeuralNetClassifier(
        Classifier,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=0.1,
        max_epochs=2,
        batch_size=8,
        verbose=0,
        callbacks=[recorder.skorch_callback()],
        **options,
    )


LABELS = (Y[:, 0] > 0).long().numpy()
XS = X.float().numpy()


def test_skorch():
    recorder = CheckpointRecorder(every=2)
    net = skorch_net(recorder, train_split=None).fit(XS, LABELS)
    found = recorder.checkpoints
    assert found.steps == [0, 2, 4, 6] and found.n_rows == 24 and found.plain
    assert_allclose(found[-1].path["inner.weight"], 0.6, rtol=1e-12)
    trained = net.module_.inner.weight.detach().numpy()
    assert_array_equal(found[-1].parameters["inner.weight"], trained)
    assert all(item.loss is not None for item in found[1:])
    net.partial_fit(XS, LABELS)
    assert recorder.checkpoints.steps[-1] == 12
    with pytest.raises(ValueError, match="has recorded another Classifier"):
        net.fit(XS, LABELS)


def test_skorch_counts_the_rows_that_it_trains_on():
    recorder = CheckpointRecorder()
    skorch_net(recorder).fit(XS, LABELS)
    assert recorder.checkpoints.n_rows == 19


def test_a_clone_of_a_net_has_a_recorder_of_its_own():
    recorder = CheckpointRecorder()
    net = skorch_net(recorder, train_split=None)
    other = clone(net).fit(XS, LABELS)
    assert not recorder.checkpoints
    assert len(other.callbacks[0].recorder.checkpoints) == 7
    pickle.loads(pickle.dumps(other))
