from pathlib import Path

from slop.interaction_types import INTERACTION_TYPES, Decided, TypeOfInteraction, interaction_type_of
from slop.v1.interaction_pb2 import InteractionType

API = Path(__file__).parents[3] / "docs" / "api.md"


def documented() -> dict[str, list[str]]:
    """The rows of the table of types in docs/api.md, by type."""
    lines = API.read_text().partition("| type | says | weight |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {row[0].strip("`"): row for row in rows}


def test_every_type_on_kafkas_wire_has_a_row_and_only_those_have() -> None:
    assert {row.number for row in INTERACTION_TYPES.values()} == set(InteractionType.values()) - {0}
    assert all(interaction_type_of(row.number) is row for row in INTERACTION_TYPES.values())
    assert interaction_type_of(InteractionType.INTERACTION_TYPE_UNSPECIFIED) is None


def test_what_speaks_decides_something_and_what_withdraws_says_nothing() -> None:
    for row in INTERACTION_TYPES.values():
        assert row.decides is not None or not row.speaks
        assert not (row.withdraws and row.speaks)
        assert (row.label is None) == (not row.speaks or row.value is not None)


def test_what_is_withdrawn_can_be_decided() -> None:
    decided = {row.decides for row in INTERACTION_TYPES.values() if not row.withdraws}
    assert {row.decides for row in INTERACTION_TYPES.values() if row.withdraws} <= decided
    assert decided - {None} == set(Decided)


def test_the_documented_table_is_the_one_that_is_used() -> None:
    def weight(row: TypeOfInteraction) -> str:
        return f"up to {row.weight:g}" if row.name == "dwell" else f"{row.weight:g}" if row.speaks else ""

    rows = documented()
    assert list(rows) == list(INTERACTION_TYPES)
    for name, row in INTERACTION_TYPES.items():
        _, _, shown, decides, value = rows[name]
        assert shown == weight(row)
        assert decides == (("withdraws " if row.withdraws else "") + row.decides if row.decides else "nothing")
        assert value == (row.value.meaning if row.value else "")
