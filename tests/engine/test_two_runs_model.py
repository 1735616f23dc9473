"""All interleavings of runs on one target, in a small model: what a run that succeeds leaves is right, and stays so.

A target has two chunks, each the block of its own. A process takes one step at a time, any process can be the next, and
each can be killed before any step, which is as if it never took another one. So every state that can be reached must be
right as it is: wherever a run has succeeded, both chunks have the values of its plan, until a later run that was told
to overwrite them has begun to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

BLOCKS = (0, 1)


@dataclass(frozen=True)
class Process:
    """A run: the plan that it builds, whether it overwrites, where it is, and what it remembers."""

    plan: str
    overwrite: bool = False
    step: str = "register"
    number: int = 0
    has_staging: bool = False
    left: tuple[int, ...] = BLOCKS
    again: frozenset[int] = frozenset()


@dataclass(frozen=True)
class State:
    """A target, and the processes."""

    processes: tuple[Process, ...]
    chunks: tuple[str | None, ...] = (None, None)
    begun: frozenset[int] = frozenset()
    done: frozenset[int] = frozenset()
    # the plan of the unfinished build, and that of the metadata
    journal: str | None = None
    metadata: str | None = None
    newest: int = 0
    # the plan of the run that has succeeded, and has not been overwritten since
    result: str | None = None

    @property
    def is_right(self) -> bool:
        return self.result is None or (self.metadata == self.result and set(self.chunks) == {self.result})


Protocol = Callable[[State, Process], Iterator[tuple[State, Process]]]


def put(chunks: tuple[str | None, ...], block: int, value: str | None) -> tuple[str | None, ...]:
    return tuple(value if at == block else old for at, old in enumerate(chunks))


def decided(state: State, process: Process) -> tuple[State, Process] | None:
    """What a process does once it knows what is there: create, resume, or nothing."""
    if state.journal == process.plan and not process.overwrite:
        left = tuple(block for block in BLOCKS if block not in state.done)
        return state, replace(process, step="begin", left=left, again=state.begun - state.done)
    if state.metadata is None or process.overwrite:
        return state, replace(process, step="empty")
    return None  # finished by an identical run, or refused


def without_numbers(state: State, process: Process) -> Iterator[tuple[State, Process]]:
    """The protocol of flags alone: what was begun and is not done is erased, and nobody knows of anybody else."""
    match process.step:
        case "register":
            following = decided(state, process)
            if following is not None:
                yield following
        case "empty":
            yield (
                replace(state, chunks=(None, None), begun=frozenset(), done=frozenset(), metadata=None, result=None),
                replace(process, step="create"),
            )
        case "create":
            yield replace(state, journal=process.plan), replace(process, step="begin", left=BLOCKS)
        case "begin" if not process.left:
            yield state, replace(process, step="commit")
        case "begin":
            yield replace(state, begun=state.begun | {process.left[0]}), replace(process, step="erase")
        case "erase":
            block = process.left[0]
            chunks = put(state.chunks, block, None) if block in process.again else state.chunks
            yield replace(state, chunks=chunks), replace(process, step="write")
        case "write":
            chunks = put(state.chunks, process.left[0], process.plan)
            yield replace(state, chunks=chunks), replace(process, step="done")
        case "done":
            done = state.done | {process.left[0]}
            yield replace(state, done=done), replace(process, step="begin", left=process.left[1:])
        case "commit" if state.done == set(BLOCKS):
            yield replace(state, metadata=process.plan), replace(process, step="close")
        case "close":
            yield replace(state, journal=None, result=process.plan), replace(process, step="succeeded")


def staged(state: State, process: Process) -> Iterator[tuple[State, Process]]:
    """The protocol in folders: a newer run takes the staging folder of the older ones, and all writing goes by it."""
    if process.step == "register":
        number = state.newest + 1
        yield replace(state, newest=number), replace(process, step="fence", number=number, has_staging=True)
        return
    if process.step == "fence":
        others = tuple(
            replace(other, has_staging=False) if other.number < process.number else other for other in state.processes
        )
        if process.has_staging:
            yield replace(state, processes=others), replace(process, step="decide")
        return
    if process.step == "decide":
        following = decided(state, process)
        if following is not None and process.has_staging:
            yield following
        return
    if not process.has_staging:
        return  # whatever it would do next fails
    if process.step == "empty":
        # the journal first, so that nobody takes what is half deleted for an unfinished build
        emptied = replace(state, journal=None, metadata=None, begun=frozenset(), done=frozenset(), result=None)
        yield emptied, replace(process, step="empty chunks")
    elif process.step == "empty chunks":
        yield replace(state, chunks=(None, None)), replace(process, step="create")
    elif process.step == "begin" and process.left:
        yield replace(state, begun=state.begun | {process.left[0]}), replace(process, step="write")
    else:
        yield from without_numbers(state, process)


def checked(state: State, process: Process) -> Iterator[tuple[State, Process]]:
    """The protocol of other stores, for runs of one plan: nothing is erased, and blocks and commit look for others."""
    if process.step == "register":
        number = state.newest + 1
        yield replace(state, newest=number), replace(process, step="decide", number=number)
    elif process.step == "decide":
        following = decided(state, process)
        if following is not None:
            yield following
    elif process.step == "begin":
        if state.newest == process.number:
            yield state, replace(process, step="begin checked" if process.left else "commit")
    elif process.step == "begin checked":
        yield replace(state, begun=state.begun | {process.left[0]}), replace(process, step="write")
    elif process.step == "commit" and state.journal is None:
        return
    else:
        yield from without_numbers(state, process)


def states(protocol: Protocol, first: State) -> Iterator[State]:
    """All states that can be reached."""
    seen, open_states = {first}, [first]
    while open_states:
        state = open_states.pop()
        yield state
        for at, process in enumerate(state.processes):
            for changed, moved in protocol(state, process):
                processes = (*changed.processes[:at], moved, *changed.processes[at + 1 :])
                following = replace(changed, processes=processes)
                if following not in seen:
                    seen.add(following)
                    open_states.append(following)


SAME = (Process("A"), Process("A"), Process("A"))
OTHERS = (Process("A"), Process("B", overwrite=True), Process("A"))
UNFINISHED = {"journal": "A", "begun": frozenset({0}), "chunks": ("A", None)}


def test_flags_alone_are_wrong() -> None:
    for processes in (SAME[:2], OTHERS[:2]):
        assert not all(state.is_right for state in states(without_numbers, State(processes)))
    first = State(SAME[:2], **UNFINISHED)  # type: ignore[arg-type]
    assert not all(state.is_right for state in states(without_numbers, first))


@pytest.mark.parametrize(
    "processes", [SAME, OTHERS, (*OTHERS[:2], Process("B"))], ids=["same", "overwritten", "joined"]
)
@pytest.mark.parametrize("unfinished", [False, True])
def test_with_staging_folders_every_success_is_right(processes: tuple[Process, ...], unfinished: bool) -> None:
    first = State(processes, **UNFINISHED) if unfinished else State(processes)  # type: ignore[arg-type]
    count, succeeded = 0, set()
    for state in states(staged, first):
        count += 1
        assert state.is_right
        succeeded |= {at for at, process in enumerate(state.processes) if process.step == "succeeded"}
    assert count > 1000
    # each of them can succeed
    assert succeeded == {0, 1, 2}


@pytest.mark.parametrize("missing", ["fence", "order"])
def test_the_model_sees_what_the_staging_folders_are_for(missing: str) -> None:
    def broken(state: State, process: Process) -> Iterator[tuple[State, Process]]:
        for changed, moved in staged(state, process):
            if missing == "fence" and process.step == "fence":
                yield replace(changed, processes=state.processes), moved
            elif missing == "order" and process.step == "empty":
                yield replace(changed, journal=state.journal, done=state.done, begun=state.begun), moved
            else:
                yield changed, moved

    assert not all(state.is_right for state in states(broken, State(OTHERS)))


def test_in_other_stores_runs_of_one_plan_are_right() -> None:
    count = 0
    for state in states(checked, State(SAME, **UNFINISHED)):  # type: ignore[arg-type]
        count += 1
        assert state.is_right
    assert count > 1000


def test_in_other_stores_nothing_may_be_erased() -> None:
    def erasing(state: State, process: Process) -> Iterator[tuple[State, Process]]:
        for changed, moved in checked(state, process):
            yield changed, replace(moved, step="erase") if process.step == "begin checked" else moved

    assert not all(state.is_right for state in states(erasing, State(SAME[:2], **UNFINISHED)))  # type: ignore[arg-type]
