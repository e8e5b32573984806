from pathlib import Path

from slop.interaction_types import KINDS, Kind, Slot, kind_of
from slop.v1.interaction_pb2 import InteractionType

API = Path(__file__).parents[3] / "docs" / "api.md"


def documented() -> dict[str, list[str]]:
    """The rows of the table of types in docs/api.md, by type."""
    lines = API.read_text().partition("| type | says | weight |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {row[0].strip("`"): row for row in rows}


def test_every_type_on_kafkas_wire_has_a_row_and_only_those_have() -> None:
    assert {kind.number for kind in KINDS.values()} == set(InteractionType.values()) - {0}
    assert all(kind_of(kind.number) is kind for kind in KINDS.values())
    assert kind_of(InteractionType.INTERACTION_TYPE_UNSPECIFIED) is None


def test_what_speaks_decides_something_and_what_withdraws_says_nothing() -> None:
    for kind in KINDS.values():
        assert kind.slot is not None or not kind.speaks
        assert not (kind.withdraws and kind.speaks)
        assert (kind.label is None) == (not kind.speaks or kind.value is not None)


def test_what_is_withdrawn_can_be_decided() -> None:
    decided = {kind.slot for kind in KINDS.values() if not kind.withdraws}
    assert {kind.slot for kind in KINDS.values() if kind.withdraws} <= decided
    assert decided - {None} == set(Slot)


def test_the_documented_table_is_the_one_that_is_used() -> None:
    def weight(kind: Kind) -> str:
        return f"up to {kind.weight:g}" if kind.name == "dwell" else f"{kind.weight:g}" if kind.speaks else ""

    rows = documented()
    assert list(rows) == list(KINDS)
    for name, kind in KINDS.items():
        _, _, shown, decides, value = rows[name]
        assert shown == weight(kind)
        assert decides == (("withdraws " if kind.withdraws else "") + kind.slot if kind.slot else "nothing")
        assert value == (kind.value.meaning if kind.value else "")
