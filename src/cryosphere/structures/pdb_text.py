"""The text of a PDB file before it is parsed: damaged coordinates found, chain ids that are used twice told apart."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from pathlib import Path

import gemmi

from cryosphere.errors import StructureError

logger = logging.getLogger(__name__)

_COLUMNS = (slice(30, 38), slice(38, 46), slice(46, 54))
_IDENTITY = slice(12, 27)  # atom name, alternative location, residue name, chain, number, insertion code
_CHAIN = slice(20, 22)
_NUMBER = slice(22, 27)
_SEGMENT = slice(72, 76)


@dataclass
class _ChainCopies:
    """Which of the molecules that share one chain id is being read, and the atoms each of them has had so far."""

    next_free: dict[bytes, int] = field(default_factory=dict)  # of an atom: the first molecule that lacks it
    current: int = 0

    def start_residue(self, identity: bytes) -> None:
        """Go on to the next molecule where the current one has this atom already."""
        self.current = max(self.current, self.next_free.get(identity, 0))

    def add(self, identity: bytes) -> None:
        self.next_free[identity] = self.current + 1


def prepare_pdb(path: Path, data: bytes) -> tuple[bytes, dict[str, str]]:
    """The first model's text with coordinates checked and repeated chain ids marked, and the repeats' new names.

    A chain id that comes again with the same residues and atoms is another molecule (programs that know no chain ids
    write such files); a parser that goes by the id would pour both into one. The segment columns then carry a mark,
    "0002" for the second molecule; `name_copies` turns marks into chains of their own. Segment ids are not kept.

    Raises StructureError for coordinate fields that hold no number: gemmi would read them as 0.
    """
    lines: list[bytes] = []
    copies: dict[bytes, _ChainCopies] = {}
    new_names: dict[str, str] = {}
    before = (b"", b"")
    in_first_model = True
    for row, line in enumerate(data.splitlines(), start=1):
        record = line[:6].upper().rstrip()
        in_first_model &= record not in (b"ENDMDL", b"END")
        if not in_first_model:
            lines.append(line)
        elif record.startswith(b"ATOM") or record == b"HETATM":
            _check_coordinates(path, row, line)
            chain, number = line[_CHAIN], line[_NUMBER]
            state = copies.setdefault(chain, _ChainCopies())
            if chain != before[0]:
                state.current = 0
            if (chain, number) != before:
                state.start_residue(line[_IDENTITY])
            state.add(line[_IDENTITY])
            before = (chain, number)
            mark = b"    "
            if state.current:
                mark = b"%04d" % (state.current + 1)
                key = chain.decode().strip() + "/" + mark.decode()
                new_names.setdefault(key, _copy_name(chain, line[_SEGMENT], state.current + 1))
            lines.append(line[:72].ljust(72) + mark + line[76:])
        else:
            lines.append(line)
    if new_names:
        logger.warning(
            "%s: chain ids occur more than once with the same residues; the repeats are read as chains %s",
            path, ", ".join(sorted(new_names.values())),
        )  # fmt: skip
    return b"\n".join(lines) + b"\n", new_names


def name_copies(structure: gemmi.Structure, new_names: dict[str, str]) -> None:
    """Make the molecules that `prepare_pdb` marked chains of their own, in the order of the file."""
    if not new_names or len(structure) == 0:
        return
    model = gemmi.Model(structure[0].num)
    for chain in structure[0]:
        for mark, residues in itertools.groupby(chain, key=lambda residue: residue.segment):
            part = gemmi.Chain(new_names.get(f"{chain.name}/{mark}", chain.name))
            for residue in residues:
                copy = residue.clone()
                copy.segment = copy.subchain = ""
                copy.entity_type = gemmi.EntityType.Unknown
                part.add_residue(copy)
            model.add_chain(part)
    structure.add_model(model)
    del structure[0]


def _check_coordinates(path: Path, row: int, line: bytes) -> None:
    try:
        for column in _COLUMNS:
            float(line[column])
    except ValueError as error:
        raise StructureError(
            f"{path}, line {row}: columns 31-54 should hold x, y and z in Å, found {line[30:54].decode()!r}; "
            "the file is damaged or not in PDB format"
        ) from error


def _copy_name(chain: bytes, segment: bytes, copy: int) -> str:
    name = chain.decode().strip()
    if not name:
        return segment.decode().strip() or str(copy)
    return f"{name}-{copy}"
