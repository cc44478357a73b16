"""What is coloured, and what is grey since nobody answers."""

from __future__ import annotations

from tests.unit.commands.live.samples import OPEN, at, candidate, provider, record, seen, target
from turnout_server.commands.live.cells import styled, target_cells, text_cells
from turnout_server.commands.live.decision_rows import decision_rows
from turnout_server.commands.live.target_rows import target_rows

LOOK = seen(
    provider(target("north/m", breaker=OPEN, reopen_time=at(4))), decisions=(record(candidate("north/m", 1.0)),)
)
TITLES = ("DECIDED", "RESULT", "CHOSEN", "WHY")


def test_words_stand_in_the_colour_of_what_they_say_and_figures_in_none() -> None:
    _, ((key, cells),) = target_cells(target_rows(LOOK), 80, nothing="nothing", stale=False)
    coloured = {str(cell).strip(): cell.style for cell in cells if cell.style}

    assert "north/m" == key
    assert {"open 4s": "bold red"} == coloured


def test_old_values_are_grey_whatever_they_say() -> None:
    _, ((_, cells),) = target_cells(target_rows(LOOK), 80, nothing="nothing", stale=True)
    _, ((_, texts),) = text_cells(TITLES, decision_rows(LOOK), 80, nothing="nothing", stale=True)

    assert {"grey58"} == {cell.style for cell in (*cells, *texts)}


def test_cells_are_as_wide_as_their_headings_and_fill_the_terminal() -> None:
    for width in (80, 120, 200):
        headings, ((_, cells),) = target_cells(target_rows(LOOK), width, nothing="nothing", stale=False)
        assert [heading.width for heading in headings] == [cell.cell_len for cell in cells]
        assert sum(heading.width for heading in headings) <= width
        texts, _ = text_cells(TITLES, decision_rows(LOOK), width, nothing="nothing", stale=False)
        assert width == sum(heading.width for heading in texts)


def test_reasons_keep_half_of_the_room_beside_long_names() -> None:
    made = record(candidate("north/" + "m" * 100 + "-eu", 1.0))
    for width in (60, 80, 120):
        headings, ((_, cells),) = text_cells(
            TITLES, decision_rows(seen(decisions=(made,))), width, nothing="nothing", stale=False
        )
        assert width == sum(heading.width for heading in headings)
        assert headings[2].width <= headings[3].width + 2
        assert str(cells[2]).endswith("-eu")
        assert "HYBRID 1.00" == str(cells[3])


def test_table_without_rows_says_so_in_a_row_that_stands_for_nothing() -> None:
    _, targets = target_cells([], 80, nothing="no targets", stale=False)
    _, texts = text_cells(TITLES, [], 80, nothing="no decisions", stale=False)

    assert [("", ["no targets"])] == [(key, [str(cell) for cell in cells]) for key, cells in targets]
    assert [("", ["", "", "", "no decisions"])] == [(key, [str(cell) for cell in cells]) for key, cells in texts]


def test_text_cannot_be_markup() -> None:
    assert "[red]x[/red]" == str(styled("[red]x[/red]"))
