"""A perfect maze: how it is drawn, how it is written in words, and what a walk through it is.

The words are those of the MaxRL paper (arXiv 2602.02710): `GRID_START`, the cells row by row with `NEWLINE` after each
row, `GRID_END PATH_START`; then `UP`, `DOWN`, `LEFT`, `RIGHT` and `DONE`. With the token for the beginning of a text a
prompt of size n has 4 + n(n + 1) tokens.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

WALL, PATH, START, GOAL = "WALL", "PATH", "START", "GOAL"
CELLS = (WALL, PATH, START, GOAL)
GRID_START, NEWLINE, GRID_END, PATH_START = "GRID_START", "NEWLINE", "GRID_END", "PATH_START"
MOVES = {"UP": (-1, 0), "DOWN": (1, 0), "LEFT": (0, -1), "RIGHT": (0, 1)}
"""Word -> change of (row, column)."""
DONE = "DONE"
WORDS = (*CELLS, GRID_START, NEWLINE, GRID_END, PATH_START, *MOVES, DONE)
"""Every word of the language."""
GridPlace = tuple[int, int]
"""(row, column), from 0."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A square of cells, `rows[row][column]`, each one of `CELLS`."""

    rows: tuple[tuple[str, ...], ...]

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def prompt(self) -> str:
        """The maze in words, with a space between any two."""
        words = [word for row in self.rows for word in (*row, NEWLINE)]
        return " ".join((GRID_START, *words, GRID_END, PATH_START))

    @staticmethod
    def of_prompt(prompt: str) -> Grid:
        """The maze that `prompt` writes. Raises ValueError for any other text."""
        start, *words, end, path = prompt.split()
        rows = " ".join(words).split(NEWLINE)
        grid = Grid(tuple(tuple(row.split()) for row in rows[:-1]))
        if (start, end, path) != (GRID_START, GRID_END, PATH_START) or grid.prompt != prompt:
            raise ValueError("not a maze in words")
        return grid

    def place_of(self, cell: str) -> GridPlace:
        """The first place that holds `cell`."""
        return next((r, row.index(cell)) for r, row in enumerate(self.rows) if cell in row)

    def at(self, place: GridPlace) -> str:
        """The cell at `place`; outside of the grid a wall."""
        row, column = place
        return self.rows[row][column] if 0 <= row < self.size and 0 <= column < self.size else WALL

    def neighbours(self, place: GridPlace) -> Iterator[tuple[str, GridPlace]]:
        """(move, place) of each move from `place` that meets no wall."""
        for move, (down, right) in MOVES.items():
            to = place[0] + down, place[1] + right
            if self.at(to) != WALL:
                yield move, to

    def solution(self) -> tuple[str, ...]:
        """The moves of a shortest way from the start to the goal; in a perfect maze it is the only one."""
        start, goal = self.place_of(START), self.place_of(GOAL)
        came: dict[GridPlace, tuple[str, GridPlace] | None] = {start: None}
        waiting = deque([start])
        while goal not in came:
            place = waiting.popleft()
            for move, to in self.neighbours(place):
                if to not in came:
                    came[to] = move, place
                    waiting.append(to)
        moves: list[str] = []
        step = came[goal]
        while step is not None:
            moves.append(step[0])
            step = came[step[1]]
        return tuple(reversed(moves))

    def fault(self, reply: str) -> str:
        """What is wrong with the walk in `reply`; "" if it goes from start to goal, meets no wall, and says DONE.

        The words are moves and one DONE at the end. A walk may go back, and pass the goal, but must end there.
        """
        *moves, last = reply.split() or [""]
        if last != DONE:
            return f"it does not end with {DONE}"
        place = self.place_of(START)
        for number, move in enumerate(moves, 1):
            if move not in MOVES:
                return f"word {number} is no move"
            down, right = MOVES[move]
            place = place[0] + down, place[1] + right
            if self.at(place) == WALL:
                return f"move {number} meets a wall"
        return "" if self.at(place) == GOAL else "it does not end at the goal"


def draw_grid(generator: random.Random, size: int) -> Grid:
    """A perfect maze: between any two of its open cells there is exactly one way that never goes back.

    Randomised Prim on the cells with odd row and column: a wall between a cell of the maze and one outside of it is
    drawn among all of these, and opened, until no cell is outside. The start is at the upper left, the goal at the
    lower right corner. `size` is odd and at least 5.
    """
    cells = [[WALL] * size for _ in range(size)]
    odd = range(1, size, 2)
    first = generator.choice(odd), generator.choice(odd)
    cells[first[0]][first[1]] = PATH
    walls = list(_walls(first, size))
    while walls:
        index = generator.randrange(len(walls))
        walls[index], walls[-1] = walls[-1], walls[index]
        (row, column), (beyond_row, beyond_column) = walls.pop()
        if cells[beyond_row][beyond_column] == PATH:
            continue
        cells[row][column] = cells[beyond_row][beyond_column] = PATH
        walls += _walls((beyond_row, beyond_column), size)
    cells[1][1], cells[size - 2][size - 2] = START, GOAL
    return Grid(tuple(map(tuple, cells)))


def _walls(cell: GridPlace, size: int) -> Iterator[tuple[GridPlace, GridPlace]]:
    """(the wall, the cell beyond it) for each neighbour of `cell` within the outer walls."""
    row, column = cell
    for down, right in MOVES.values():
        beyond = row + 2 * down, column + 2 * right
        if 0 < beyond[0] < size and 0 < beyond[1] < size:
            yield (row + down, column + right), beyond
