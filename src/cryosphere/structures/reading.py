"""From a file's bytes to a gemmi structure: unpacking, recognising the format, and refusing what is no model."""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from pathlib import Path

import gemmi

from cryosphere.errors import StructureError
from cryosphere.structures import chemistry
from cryosphere.structures.pdb_text import name_copies, prepare_pdb

logger = logging.getLogger(__name__)

_EXPECTED = "expected an atomic model in PDB or mmCIF format (.pdb, .cif, also gzipped)"
_PRINTABLE = bytes(code if 32 <= code < 127 or code in b"\t\n\r" else ord("*") for code in range(256))
_ATOM_SITE_COLUMNS = (b"id", b"type_symbol", b"label_alt_id", b"label_asym_id", b"Cartn_x", b"Cartn_y", b"Cartn_z")
_UNSAFE = re.compile(r"^[^A-Za-z0-9+*]|[^A-Za-z0-9+*,_.:\-]")
_MMCIF_START = re.compile(rb"\A(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*data_", re.IGNORECASE)


def parse_structure(path: Path) -> gemmi.Structure:
    """The first model of a PDB or mmCIF file, every atom in the order of the file.

    Chains that a PDB file interrupts (ligands and waters after TER) stay where they are. Entities and label
    identifiers that a PDB file lacks are derived, so that it can be written as mmCIF; elements that contradict the
    atom names of standard residues are corrected, with a log message.

    Raises StructureError for a file that is missing, empty, damaged, without atoms, or not an atomic model at all.
    """
    data = _file_bytes(path)
    is_mmcif = _MMCIF_START.match(data) is not None
    copies: dict[str, str] = {}
    if not is_mmcif:
        data, copies = prepare_pdb(path, data)
    structure = _parse(path, data, is_mmcif=is_mmcif)
    structure.remove_empty_chains()
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise StructureError(f"{path}: no atoms found{_missing_columns(data) if is_mmcif else ''}; {_EXPECTED}")
    _keep_first_model(path, structure)
    name_copies(structure, copies)
    for chain in structure[0]:
        if chain.name == "''":  # how an empty chain id, correctly quoted in mmCIF, arrives here
            chain.name = ""
    complete_identifiers(structure)
    _correct_elements(path, structure)
    return structure


def complete_identifiers(structure: gemmi.Structure) -> None:
    """Give residues the entity, label chain and label number that mmCIF wants, where the structure lacks them."""
    structure.setup_entities()
    _make_names_safe(structure)
    residues = [residue for model in structure for chain in model for residue in chain]
    if not any(residue.label_seq is not None for residue in residues):
        structure.assign_label_seq_id(force=True)
    known = {subchain for entity in structure.entities for subchain in entity.subchains}
    for residue in residues:  # chains with a blank id are passed over by gemmi
        if residue.subchain and residue.subchain not in known:
            known.add(residue.subchain)
            _add_entity(structure, residue)


def _make_names_safe(structure: gemmi.Structure) -> None:
    """Free the names from which mmCIF tables are made of what only damaged files hold there: spaces, quotes, nothing.

    Covalent links and secondary structure that name absent residues go, too.
    """
    changed = []
    for residue in (residue for model in structure for chain in model for residue in chain):
        name = _safe(residue.name)
        if name != residue.name:
            changed.append(f"{residue.name!r} -> {name!r}")
            residue.name = name
        residue.subchain = residue.subchain and _safe(residue.subchain)
    if changed:
        logger.warning("%d residues have no proper name: %s", len(changed), ", ".join(sorted(set(changed))[:5]))
    for entity in structure.entities:
        entity.name = _safe(entity.name)
        entity.subchains = [_safe(subchain) for subchain in entity.subchains]
        entity.full_sequence = [_safe(name) for name in entity.full_sequence]
    find = structure[0].find_cra
    for i in reversed(range(len(structure.connections))):
        link = structure.connections[i]
        if find(link.partner1).atom is None or find(link.partner2).atom is None:
            del structure.connections[i]


def _safe(name: str) -> str:
    cleaned = _UNSAFE.sub("*", ",".join(filter(None, name.split(","))))  # commas part alternatives in a sequence
    return cleaned if cleaned.strip("_.?*") else "UNK"


def _add_entity(structure: gemmi.Structure, residue: gemmi.Residue) -> None:
    names = {entity.name for entity in structure.entities}
    number = 1
    while str(number) in names:
        number += 1
    entity = gemmi.Entity(str(number))
    entity.subchains = [residue.subchain]
    entity.entity_type = residue.entity_type
    if residue.entity_type == gemmi.EntityType.Polymer:
        entity.polymer_type = structure[0].get_subchain(residue.subchain).check_polymer_type()
    structure.entities.append(entity)
    for chain in structure[0]:
        for other in chain:
            if other.subchain == residue.subchain:
                other.entity_id = entity.name


def _file_bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a pipe or a device could be read for ever
        raise StructureError(f"{path}: is not a regular file; {_EXPECTED}")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StructureError(f"{path}: there is no such file; {_EXPECTED}") from error
    except OSError as error:
        raise StructureError(f"{path}: cannot be read ({error.strerror or error}); {_EXPECTED}") from error
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise StructureError(f"{path}: the gzip file is damaged or truncated ({error}); fetch it again") from error
    data = data.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
    if not data.strip():
        raise StructureError(f"{path}: the file is empty; {_EXPECTED}")
    if b"\0" in data:
        raise StructureError(f"{path}: this is a binary file; {_EXPECTED}")
    printable = data.translate(_PRINTABLE)
    if printable != data:
        count = sum(before != after for before, after in zip(data, printable, strict=True))
        logger.warning("%s: %d characters outside plain ASCII are read as '*'", path, count)
    return printable


def _parse(path: Path, data: bytes, *, is_mmcif: bool) -> gemmi.Structure:
    kind = gemmi.CoorFormat.Mmcif if is_mmcif else gemmi.CoorFormat.Pdb
    try:
        structure = gemmi.read_structure_string(data, merge_chain_parts=False, format=kind)
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StructureError(f"{path}: cannot be read as {kind.name} ({reason}); {_EXPECTED}") from error
    return structure


def _missing_columns(data: bytes) -> str:
    present = set(re.findall(rb"_atom_site\.(\w+)", data[:1_000_000]))
    missing = [tag.decode() for tag in _ATOM_SITE_COLUMNS if tag not in present]
    return f" (the atom_site table lacks {', '.join(missing)})" if present and missing else ""


def _keep_first_model(path: Path, structure: gemmi.Structure) -> None:
    count = len(structure)
    if count > 1:
        logger.warning("%s holds %d models: only the first one is used", path, count)
        del structure[1:]


def _correct_elements(path: Path, structure: gemmi.Structure) -> None:
    examples: list[str] = []
    count = 0
    level = logging.INFO  # missing elements are common; wrong ones are worth a warning
    for chain in structure[0]:
        for residue in chain:
            name = residue.name
            for atom in residue:
                stated = atom.element
                element = chemistry.element_in_polymer(name, atom.name)
                if element is None and stated.atomic_number == 0:
                    element = chemistry.element_guess(atom.name)
                if element is not None and element.atomic_number != stated.atomic_number:
                    count += 1
                    level = logging.WARNING if stated.atomic_number else level
                    if len(examples) < 3:
                        examples.append(f"{name} {residue.seqid} {atom.name}: {stated.name} -> {element.name}")
                    atom.element = element
    if count:
        shown = "; ".join(examples)
        logger.log(level, "%s: elements of %d atoms were taken from their names (%s)", path, count, shown)
