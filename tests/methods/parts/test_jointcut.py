"""Co-Mixup's solver against all assignments there are, and against the objective that it says it minimises."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from workbench.draw import Draw
from workbench.methods.parts import jointcut
from workbench.methods.parts.jointcut import HALF_BONUS, PAIRS, Problem, objective, solve, tables

CPU = torch.device("cpu")


def problem(
    groups: int,
    inputs: int,
    grid: tuple[int, int] = (4, 4),
    *,
    beta: float = 0.32,
    gamma: float = 1.0,
    omega: float = 0.001,
    seed: int = 0,
) -> Problem:
    """Random peaked saliency with the paper's parameters."""
    generator = torch.Generator().manual_seed(seed)
    cells = grid[0] * grid[1]
    salient = torch.rand(groups, cells, inputs, generator=generator) ** 3
    apart = torch.rand(groups, inputs, inputs, generator=generator)
    apart = (apart + apart.mT) * (1 - torch.eye(inputs))
    likeness = (1 - omega) * torch.eye(inputs) + omega * inputs * apart / apart.sum((1, 2), keepdim=True)
    return Problem(-salient / salient.sum(1, keepdim=True), likeness, grid, beta / cells, gamma, 0.83)


def solved(task: Problem, outputs: int, sweeps: int = 4, seed: int = 0) -> Tensor:
    groups, cells, inputs = task.cost.shape
    draw = Draw(seed)
    start = torch.from_numpy(draw.rng.integers(inputs, size=(groups, outputs, cells)))
    orders = [draw.rng.permutation(outputs).tolist() for _ in range(sweeps)]
    return solve(task, start, torch.ones(groups, outputs), orders)


def one_hot(choice: Tensor, inputs: int) -> Tensor:
    return torch.nn.functional.one_hot(choice, inputs).float()


def objective_by_loop(task: Problem, z: Tensor) -> float:
    """The objective of a single group, term by term, in double precision."""
    outputs, cells, inputs = z.shape
    columns = task.grid[1]
    z, cost, likeness = z.double(), task.cost[0].double(), task.likeness[0].double()
    total = float((z * cost).sum())
    for j, k in itertools.product(range(outputs), range(cells)):
        for other in [k + 1] * ((k + 1) % columns > 0) + [k + columns] * (k + columns < cells):
            total += task.smoothness * float((z[j, k] - z[j, other]).square().sum()) / 2
        total -= HALF_BONUS * float((z[j, k] > 0).sum() == 2)
    area = z.mean(1)
    for j, i in itertools.product(range(outputs), range(inputs)):
        use = sum(float(likeness[i] @ area[other]) for other in range(outputs) if other != j)
        total += cells * task.diversity * float(area[j, i]) * use * (use > task.limit)
    return total


def all_labellings(inputs: int, cells: int, halves: bool) -> Tensor:
    """(choices, cells, inputs): everything that one output can look like."""
    labels = torch.eye(inputs)
    if halves:
        mixed = [(labels[a] + labels[b]) / 2 for a, b in itertools.combinations(range(inputs), 2)]
        labels = torch.cat([labels, torch.stack(mixed)])
    picks = torch.tensor(list(itertools.product(range(len(labels)), repeat=cells)))
    return labels[picks]


def least(task: Problem, assignments: Tensor) -> float:
    """The lowest objective among (choices, J, N, I) of a problem of one group."""
    choices = len(assignments)
    cost, likeness = task.cost.expand(choices, -1, -1), task.likeness.expand(choices, -1, -1)
    return float(objective(Problem(cost, likeness, *vars_of(task)), assignments).min())


def vars_of(task: Problem) -> tuple[tuple[int, int], float, float, float]:
    return task.grid, task.smoothness, task.diversity, task.limit


# ---------------------------------------------------------------------------------------------------- the objective


def test_objective_by_loop() -> None:
    for seed in range(5):
        task = problem(1, 4, (2, 3), omega=0.2, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        one, two = (one_hot(torch.randint(4, (1, 5, 6), generator=generator), 4) for _ in range(2))
        z = (one + two) / 2
        assert float(objective(task, z)) == pytest.approx(objective_by_loop(task, z[0]), abs=1e-4)


def test_tables_of_a_grid() -> None:
    table = tables(2, 3, 4, CPU)
    around = [sorted(n for n in cell if n < 6) for cell in table.around.view(6, 4).tolist()]
    assert around == [[1, 3], [0, 2, 4], [1, 5], [0, 4], [1, 3, 5], [2, 4]]
    assert len(table.start) == 14 and table.red.flatten().tolist() == [True, False, True, False, True, False]
    shown = torch.cat([torch.eye(7)[:4], (torch.eye(7)[PAIRS[0] + 4] + torch.eye(7)[PAIRS[1] + 4]) / 2])
    torch.testing.assert_close(table.distance[:-1], torch.cdist(shown, shown).square() / 2)
    assert not table.distance[-1].any()
    assert tables(1, 1, 3, CPU).start.shape == (0,)


# ------------------------------------------------------------------------------------------------------ the solver


def test_one_output_against_all_labellings() -> None:
    """3 inputs, 2 x 2 cells: without other outputs nothing is reused, and the rest is found exactly nearly always."""
    everything = all_labellings(3, 4, halves=True)[:, None]
    gaps = []
    for seed in range(12):
        task = problem(1, 3, (2, 2), seed=seed)
        found = float(objective(task, solved(task, 1, seed=seed)))
        lowest = least(task, everything)
        gaps.append((found - lowest) / abs(lowest))
    assert min(gaps) > -1e-5
    assert sum(gap < 1e-5 for gap in gaps) >= 9 and max(gaps) < 0.05


def test_outputs_together_against_all_labellings() -> None:
    """Of three outputs, one by one, the best of a few starts is nearly the best there is; no start is absurd."""
    single = all_labellings(3, 4, halves=False)
    grid = torch.cartesian_prod(*[torch.arange(len(single))] * 2)
    for seed in range(2):
        task = problem(1, 3, (2, 2), seed=seed)
        lowest = min(least(task, torch.cat([single[grid], one.expand(len(grid), 1, 4, 3)], 1)) for one in single)
        found = [float(objective(task, solved(task, 3, sweeps=6, seed=start))) for start in range(12)]
        assert min(found) <= lowest + 0.05 * abs(lowest)


def test_better_than_simple_assignments() -> None:
    groups, inputs = 6, 12
    task = problem(groups, inputs, seed=1)
    found = objective(task, solved(task, inputs))
    generator = torch.Generator().manual_seed(2)
    greedy = one_hot(task.cost.argmin(2), inputs)[:, None].expand(-1, inputs, -1, -1)
    random = one_hot(torch.randint(inputs, (groups, inputs, 16), generator=generator), inputs)
    assert (found < objective(task, greedy)).all()
    assert (found < objective(task, random)).all()
    assert found.mean() < -5  # the others have 100 to 240


def test_never_worse_for_more_sweeps() -> None:
    task = problem(6, 12, seed=3)
    reached = []
    for sweeps in range(6):
        draw = Draw(5)
        start = torch.from_numpy(draw.rng.integers(12, size=(6, 12, 16)))
        orders = [draw.rng.permutation(12).tolist() for _ in range(sweeps)]
        reached.append(objective(task, solve(task, start, torch.ones(6, 12), orders)))
    for before, after in itertools.pairwise(reached):
        assert (after <= before).all()
    assert reached[4].mean() < reached[1].mean() < reached[0].mean()


def test_an_assignment_is_one_input_a_cell_or_two_halves() -> None:
    z = solved(problem(4, 10, beta=0.6, seed=2), 10)
    torch.testing.assert_close(z.sum(3), torch.ones(4, 10, 16))
    assert set(z.unique().tolist()) == {0.0, 0.5, 1.0}


def test_outputs_do_not_all_take_the_same_inputs() -> None:
    """All outputs improved at once would each take what is free at that time, and so the same."""
    task = problem(4, 12, seed=4)
    z = solved(task, 12)
    use = z.mean(2).sum(1)
    assert use.max() <= task.limit + 1
    assert (z.mean(2) > 0).any(1).sum(1).min() >= 8
    distinct = [len(group.argmax(2).unique(dim=0)) for group in z]
    assert min(distinct) >= 11


def test_without_penalties_every_cell_takes_its_most_salient_input() -> None:
    task = problem(3, 6, beta=0.0, gamma=0.0)
    z = solved(task, 6)
    expected = one_hot(task.cost.argmin(2), 6)
    assert torch.equal(z.argmax(3), expected.argmax(2)[:, None].expand(-1, 6, -1))


def test_the_costs_are_not_written_to() -> None:
    task = problem(3, 6)
    before = [task.cost.clone(), task.likeness.clone()]
    start, present = torch.zeros(3, 6, 16, dtype=torch.int64), torch.ones(3, 6)
    solve(task, start, present, [[0, 1, 2, 3, 4, 5]] * 2)
    assert torch.equal(task.cost, before[0]) and torch.equal(task.likeness, before[1])
    assert not start.any() and present.all()


def test_groups_don_t_see_one_another() -> None:
    task = problem(3, 6, seed=7)
    draw = Draw(1)
    start = torch.from_numpy(draw.rng.integers(6, size=(3, 6, 16)))
    orders = [draw.rng.permutation(6).tolist() for _ in range(3)]
    together = solve(task, start, torch.ones(3, 6), orders)
    for g in range(3):
        alone = Problem(task.cost[g : g + 1], task.likeness[g : g + 1], *vars_of(task))
        assert torch.equal(solve(alone, start[g : g + 1], torch.ones(1, 6), orders)[0], together[g])


def test_outputs_that_only_fill_up_a_group_use_nothing() -> None:
    task = problem(2, 5, seed=8)
    present = torch.tensor([[1.0, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    start = torch.from_numpy(Draw(2).rng.integers(5, size=(2, 5, 16)))
    z = solve(task, start, present, [[4, 0, 1, 2, 3]] * 3)
    assert not z[0, 4].any() and z[1, 4].any()
    fewer = Problem(task.cost[:1], task.likeness[:1], *vars_of(task))
    without = solve(fewer, start[:1, :4], torch.ones(1, 4), [[0, 1, 2, 3]] * 3)
    assert torch.equal(z[:1, :4], without)


@pytest.mark.parametrize("rounds", [4, 8])
def test_messages_beat_the_best_single_cells(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    """For one output on 4 x 4 cells: below taking each cell's best, and below improving that cell by cell."""
    monkeypatch.setattr(jointcut, "MESSAGE_ROUNDS", rounds)
    task = problem(20, 8, beta=1.0, gamma=0.0, seed=9)
    table = tables(4, 4, 8, CPU)
    cost = torch.nn.functional.pad(task.cost.transpose(0, 1), (0, 6), value=jointcut.PROHIBITIVE)
    label = cost.argmin(2)

    def energy(label: Tensor) -> Tensor:
        return objective(task, one_hot(label.t(), 8)[:, None])

    by_cells = label
    for _ in range(5):
        by_cells = jointcut._settled(table, cost, task.smoothness, by_cells)
    passed = jointcut._passed(table, cost, task.smoothness).argmin(2)
    found = jointcut._settled(table, cost, task.smoothness, passed)
    assert energy(found).mean() < energy(by_cells).mean() < energy(label).mean()
