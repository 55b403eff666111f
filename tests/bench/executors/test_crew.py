"""A crew returns one result for each task, also if workers of its executor die."""

from collections import deque

from latentbench.bench.executors.crew import TRIES, Crew
from latentbench.bench.executors.protocol import Died

LOST = Died("its node ended", may_succeed_elsewhere=True)


class Scripted:
    """An executor that answers as it is told, the newest unit first."""

    at_once = 3
    exclusive_at_once = 1

    def __init__(self, **outcomes):
        self.outcomes = {key: deque(each) for key, each in outcomes.items()}
        self.open, self.submitted, self.most = [], [], 0

    def submit(self, unit):
        self.submitted.append((unit.key, unit.alone))
        self.open.append(unit)
        self.most = max(self.most, len(self.open))

    def finished(self):
        unit = self.open.pop()
        outcome = self.outcomes.get(unit.key) and self.outcomes[unit.key].popleft()
        if outcome:
            return [(unit.key, outcome)]
        result = (unit.key, unit.function(unit.task, None))
        return [result, result]

    def stop(self, *, now):
        pass


def upper(task, context):
    return task.upper()


def run(executor, tasks, note=print, **options):
    return sorted(Crew(executor, key=str, note=note).map(upper, tasks, **options))


def test_a_second_result_of_a_task_is_dropped():
    executor = Scripted()
    assert run(executor, "abcde") == [(task, task.upper()) for task in "abcde"]
    assert executor.most == 3


def test_a_lost_task_is_tried_again_on_its_own():
    executor, notes = Scripted(b=[LOST, LOST]), []
    assert run(executor, "abc", notes.append) == [("a", "A"), ("b", "B"), ("c", "C")]
    assert notes == [f"its node ended; its work is tried again ({number} of 3)" for number in (2, 3)]
    assert [alone for key, alone in executor.submitted if key == "b"] == [False, True, True]


def test_a_task_that_dies_each_time_has_its_death_as_result():
    executor = Scripted(b=[LOST] * TRIES)
    found = dict(Crew(executor, key=str).map(upper, "ab"))
    assert found == {"a": "A", "b": LOST}


def test_a_death_that_the_task_caused_is_not_tried_again():
    executor = Scripted(b=[Died.with_exit_code(-9)])
    found = dict(Crew(executor, key=str).map(upper, "ab"))
    assert found["b"].out_of_memory
    assert len(executor.submitted) == 2


def test_exclusive_tasks_run_one_at_a_time():
    executor = Scripted()
    run(executor, "abc", exclusive=True)
    assert executor.most == 1


def test_a_task_can_run_while_others_are_open():
    executor, found = Scripted(), []
    crew = Crew(executor, key=str)
    for task, result in crew.map(upper, "abcd"):
        found.append((task, result, crew.alone(upper, f"{task}2")))
    assert sorted(found) == [(task, task.upper(), f"{task.upper()}2") for task in "abcd"]
