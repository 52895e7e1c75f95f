"""Which batches a stage trains on after a rollback, and where it goes back to. Worked by hand."""

import json
from types import SimpleNamespace

import pytest

from stages.config import HealthConfig, StageConfig
from stages.contract import files
from stages.training.health import Alarm, RollBack, Unhealthy
from stages.training.rollback import Batches, roll_back


class Stage:
    """What `roll_back` asks of a worker, with checkpoints of these steps."""

    is_main = True

    def __init__(self, directory, checkpoints):
        self.dir, self.lines = directory, []
        for step in checkpoints:
            (directory / "state" / f"step_{step:06d}").mkdir(parents=True)

    def say(self, line):
        self.lines.append(line)

    def kept(self):
        return sorted(int(path.name.split("_")[1]) for path in (self.dir / "state").iterdir())


def batches(directory, *left_out, per_rollout=1):
    (directory / "skipped.jsonl").write_text("".join(json.dumps({"batches": numbers}) + "\n" for numbers in left_out))
    return Batches(directory, per_rollout)


def saver(worker, **health):
    """What `roll_back` asks of a saver."""
    return SimpleNamespace(
        worker=worker, root=worker.dir / "state", config=StageConfig(health=HealthConfig(**health)), wait=lambda: None
    )


def cause(step, name="non_finite"):
    return RollBack([Alarm(name, step, "seen", "try this")])


def test_steps_train_on_the_batches_that_are_left(tmp_path):
    assert [Batches(tmp_path).number(step) for step in range(3)] == [0, 1, 2]
    assert [batches(tmp_path, [4], [1, 2]).number(step) for step in range(5)] == [0, 3, 5, 6, 7]


def test_rollouts_of_which_nothing_or_something_is_left(tmp_path):
    left = batches(tmp_path, [1], [2, 3], per_rollout=2)  # steps train on 0, 4, 5, 6
    assert [left.rollout(step) for step in range(4)] == [0, 4, 4, 6]
    assert [left.begins(step) for step in range(4)] == [True, True, False, True]
    assert left.before(6) == 4 and left.before(4) == 0 and left.before(0) is None


@pytest.mark.parametrize(
    "name, step, checkpoints, went_to, left_out",
    [
        ("non_finite", 8, [2, 4, 7], 7, [7]),  # the batch of step 8 has number 7
        ("non_finite", 8, [2, 4], 4, [7]),  # steps 5, 6 and 7 are made again
        (
            "kl_blow_up",
            8,
            [4, 6, 7],
            6,
            [6, 7],
        ),  # what step 8 measured before its update, step 7 had done: its weights are no good
        ("kl_blow_up", 8, [4, 7], 4, [4, 5, 6, 7]),
    ],
)
def test_where_it_goes_back_to(name, step, checkpoints, went_to, left_out, tmp_path):
    worker, forgotten = Stage(tmp_path, checkpoints), []
    after = roll_back(
        saver(worker), cause(step, name), Batches(tmp_path), lambda numbers: {"prompts": numbers}, forgotten.append
    )
    assert worker.kept() == [number for number in checkpoints if number <= went_to] and forgotten == left_out[:1]
    (row,) = files.read_jsonl(tmp_path / "skipped.jsonl")
    assert (
        row["checkpoint"] == went_to and row["batches"] == row["prompts"] == left_out and after.skipped == set(left_out)
    )
    assert (
        f"rolled back to step {went_to}, without batch {left_out[0]}" in worker.lines[0] and row["advice"] == "try this"
    )


def test_numbers_are_of_batches_not_of_steps(tmp_path):
    worker = Stage(tmp_path, [0, 3])
    after = roll_back(saver(worker), cause(4), batches(tmp_path, [1]))
    assert [row["batches"] for row in after.rows] == [[1], [4]]


def test_it_stops_where_there_is_nothing_to_go_back_to_and_when_it_was_done_too_often(tmp_path):
    worker = Stage(tmp_path, [3])
    with pytest.raises(Unhealthy, match="no checkpoint of step 2 or before") as caught:
        roll_back(saver(worker), cause(4, "entropy_collapse"), Batches(tmp_path))
    assert "keep_checkpoints" in caught.value.fix
    with pytest.raises(Unhealthy, match=r"rolled back 2 time\(s\) before") as caught:
        roll_back(saver(worker, max_rollbacks=2), cause(4), batches(tmp_path, [1], [2]))
    assert "health.max_rollbacks" in caught.value.fix and worker.kept() == [3]
