"""Graphs of several platforms joined into one, so that what they share is done once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from wcbuild.graph.ops import Graph, Op, Step


def merge(graphs: Sequence[Graph]) -> tuple[Graph, tuple[tuple[int, ...], ...]]:
    """Join graphs; of steps that do the same to the same, the first stays.

    Returns:
        The graph, and for each of the given ones the indexes that its steps have now.
    """
    steps: list[Step] = []
    known: dict[tuple[Op, tuple[int, ...], bool], int] = {}
    places = tuple(tuple(_place(graph.steps, steps, known)) for graph in graphs)
    return Graph(steps=tuple(steps)), places


def _place(
    added: Sequence[Step], steps: list[Step], known: dict[tuple[Op, tuple[int, ...], bool], int]
) -> Iterable[int]:
    places: list[int] = []
    for step in added:
        inputs = tuple(places[each] for each in step.inputs)
        key = (step.op, inputs, step.no_cache)
        if key not in known:
            known[key] = len(steps)
            steps.append(replace(step, inputs=inputs))
        places.append(known[key])
    return places
