"""What a residue's name says: its class, its parent under a force field's spelling, its elements, its hydrogens."""

from __future__ import annotations

from functools import lru_cache

import gemmi

# Spellings of molecular-dynamics programs (CHARMM, Amber, GROMACS) of residues that are chemically standard.
_FORCE_FIELD_SPELLING = {
    "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HID": "HIS", "HIE": "HIS", "HIP": "HIS",
    "CYX": "CYS", "CYM": "CYS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS", "ASPP": "ASP", "GLUP": "GLU",
    "ADE": "A", "CYT": "C", "GUA": "G", "URA": "U", "THY": "DT", "RA": "A", "RC": "C", "RG": "G", "RU": "U",
    **{f"{base}{end}": base for base in ("A", "C", "G", "U", "DA", "DC", "DG", "DT") for end in "35"},
    **{f"R{base}{end}": base for base in "ACGU" for end in "35"},
}  # fmt: skip
_WATER_SPELLING = frozenset({"TIP", "TIP3", "TIP4", "TP3", "SOL", "SPC", "T3P"})
_ION_SPELLING = frozenset({"SOD", "CLA", "POT", "CAL", "CES", "RUB", "LIT", "BAR", "CAD", "ZN2", "NA+", "CL-", "K+"})
_CAPS = frozenset({"ACE", "FOR", "NME", "NMA", "NH2"})  # what closes the ends of a peptide chain
_HALOGENS = frozenset({"F", "Cl", "Br", "I"})

_HYDROGEN_MASS = 1.008
_OXYGEN_MASS = 15.999
_MASS_PER_ELECTRON = 2.0  # Da per electron of C, N, O, S, P: their mass numbers are twice their atomic numbers
_CARBON = gemmi.Element("C")


def parent_name(name: str) -> str:
    """The standard residue that a molecular-dynamics program spells `name`; any other name comes back unchanged."""
    return _FORCE_FIELD_SPELLING.get(name, name)


@lru_cache(maxsize=4096)
def _entry(name: str) -> gemmi.ResidueInfo:
    return gemmi.find_tabulated_residue(parent_name(name))


def is_force_field_spelling(name: str) -> bool:
    """Whether a molecular-dynamics program's own spelling stands for a standard residue (HSD for HIS)."""
    return name in _FORCE_FIELD_SPELLING


def is_amino_acid(name: str) -> bool:
    """Whether the name is known to belong to an amino acid, standard or modified, or to a cap of a peptide's end."""
    return name in _CAPS or bool(_entry(name).is_amino_acid())


def is_nucleotide(name: str) -> bool:
    """Whether the name is known to belong to a nucleotide, standard or modified."""
    return bool(_entry(name).is_nucleic_acid())


def is_standard(name: str) -> bool:
    """Whether the name is one of the standard amino acids or nucleotides (in any known spelling)."""
    return bool(_entry(name).is_standard())


def is_water(name: str) -> bool:
    """Whether the name is one of water's."""
    return name in _WATER_SPELLING or bool(_entry(name).is_water())


def is_ion(name: str, element: gemmi.Element) -> bool:
    """Whether a residue of this name, with one heavy atom of this element, is a lone ion."""
    return name in _ION_SPELLING or element.is_metal or element.name in _HALOGENS


def element_in_polymer(residue_name: str, atom_name: str) -> gemmi.Element | None:
    """The element that an atom's name states inside an amino acid or nucleotide; None where the name is no guide.

    There the first letter decides: CA is carbon, HG1 hydrogen. Files without an element column, or with atom names
    set one column to the left, otherwise turn carbons into calcium and hydrogens into mercury. Modified residues
    (which may hold selenium or a halogen) are left to what the file says.
    """
    if not is_standard(residue_name) or parent_name(residue_name) == "SEC":
        return None
    letter = atom_name.lstrip("0123456789'\"*")[:1].upper()
    return gemmi.Element(letter) if letter and letter in "CNOSPHD" else None


def element_guess(atom_name: str) -> gemmi.Element:
    """The element of an atom whose file states none that exists: by the name's first letters, carbon at worst."""
    letters = atom_name.lstrip("0123456789'\"*")
    for guess in (letters[:1].upper(), letters[:2].capitalize()):
        if guess and gemmi.Element(guess).atomic_number > 0:
            return gemmi.Element(guess)
    return _CARBON


def implied_hydrogens(name: str, heavy_electrons: float, *, in_polymer: bool) -> float:
    """Hydrogens that a residue carries in reality, by the composition that chemical tables give for its name.

    heavy_electrons: electrons of the residue's atoms other than hydrogen. A residue of which only part is modelled
    (a missing side chain) carries hydrogens in proportion. in_polymer: two hydrogens and an oxygen went off as
    water when the bond was made. Returns 0 for names that the tables do not know.
    """
    entry = _entry(name)
    hydrogens = float(entry.hydrogen_count) - (2.0 if in_polymer else 0.0)
    if not entry.found() or hydrogens <= 0:
        return 0.0
    heavy_mass = entry.weight - entry.hydrogen_count * _HYDROGEN_MASS - (_OXYGEN_MASS if in_polymer else 0.0)
    complete = heavy_mass / _MASS_PER_ELECTRON
    if heavy_electrons > 0.9 * complete:  # the mass of heavier elements (Se, Fe) overstates their electrons
        return hydrogens
    return hydrogens * heavy_electrons / complete
