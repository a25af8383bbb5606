"""Arenas keep every row's numbers through growth, moves and removals."""

from __future__ import annotations

import random

import torch

from agent_rl.inference.kv_cache import Arena, Arenas, KVShape, Stretch

SHAPE = KVShape(layers=2, kv_heads=3, head_dim=4, dtype=torch.float32, device=torch.device("cpu"))


def test_token_bytes() -> None:
    assert SHAPE.token_bytes == 2 * 2 * 3 * 4 * 4  # layers, keys and values, heads, dimensions, bytes


def test_rows_stay_what_they_are_in_any_order_of_operations() -> None:
    draw = random.Random(0)
    arenas = Arenas(SHAPE)
    alive: dict[int, Stretch] = {}

    def write(stretch: Stretch, number: int) -> None:
        """Worker t + 1 of every head holds 1000 * number + t."""
        assert stretch.arena is not None
        values = 1000 * number + torch.arange(stretch.length, dtype=torch.float32)
        stretch.arena.data[:, :, stretch.row, :, 1 : 1 + stretch.length] = values[:, None]

    def check(stretch: Stretch, number: int) -> None:
        expected = 1000 * number + torch.arange(stretch.length, dtype=torch.float32)
        if stretch.arena is None:
            assert stretch.parked is not None
            held = stretch.parked
        else:
            held = stretch.arena.data[:, :, stretch.row, :, 1 : 1 + stretch.length]
            assert stretch.arena.rows[stretch.row] is stretch
            assert stretch.arena.owners[stretch.row] == number
            assert not stretch.arena.data[:, :, stretch.row, :, 0].any(), "worker 0 stays empty"
        assert torch.equal(held, expected[:, None].expand(2, 2, 3, -1, 4))

    for number in range(300):
        kind = draw.choice(["add", "add", "remove", "move", "park"])
        placed = [n for n, s in alive.items() if s.arena is not None]
        if kind == "add" or not placed:
            stretch = alive[number] = Stretch(draw.randrange(1, 100))
            arenas.fitting(stretch.length + 1).add(stretch, number)
            write(stretch, number)
        elif kind == "park":
            chosen = draw.choice(placed)
            stretch = alive[chosen]
            arena, row = stretch.arena, stretch.row
            assert arena is not None
            stretch.park()
            arena.remove([row])
            check(stretch, chosen)
            arenas.fitting(stretch.length + 1).add(stretch, chosen)
        else:
            arena = alive[draw.choice(placed)].arena
            assert arena is not None
            rows = draw.sample(range(len(arena)), draw.randrange(1, len(arena) + 1))
            if kind == "move":
                arena.move(rows, arenas.fitting(arena.capacity))
            else:
                gone = [int(arena.owners[row]) for row in rows]
                arena.remove(rows)
                for n in gone:
                    del alive[n]
        for n, stretch in alive.items():
            check(stretch, n)
    assert sum(len(arena) for arena in arenas.used()) == len(alive)


def test_an_arena_has_a_worker_to_spare() -> None:
    arenas = Arenas(SHAPE)
    found = [arenas.fitting(tokens).capacity for tokens in (1, 27, 28, 59, 60, 92, 124, 200, 1000)]
    assert found == [28, 28, 60, 60, 92, 124, 188, 252, 1020]
    assert arenas.allocated_bytes == 0
    arena: Arena = arenas.fitting(10)
    stretch = Stretch(3)
    arena.add(stretch, 0)
    assert arenas.used() == [arena]
    arena.remove([0])
    arenas.release()
    assert arenas.used() == []
