"""EPYC product lines: how to tell them apart, how each lays out its TCB version, and whose root vouches for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attest.checks import Check
from attest.errors import Outcome
from attest.evidence import ClaimEnum
from attest.trust import Role

TCB_FORM: Final = Check(
    "sev-snp.tcb-form",
    "form of the TCB versions",
    "AMD 56860 rev 1.58 section 2.2 (TCB_VERSION); AMD 57230 (SPL extensions)",
    Outcome.MALFORMED,
    "the report is altered or comes from firmware that this version does not know",
)


class AmdProduct(ClaimEnum):
    """Product line of an EPYC processor, as AMD's key distribution service names it in lower case."""

    MILAN = "milan"
    GENOA = "genoa"  # with Bergamo and Siena, which have no name of their own there
    TURIN = "turin"


@dataclass(frozen=True, slots=True)
class Tcb:
    """One TCB version: security version numbers of the components, 0..127, microcode 0..255. ``fmc`` is 0 where there is none.

    Compared component by component: as one number a high component would hide a low one.
    """

    fmc: int
    bootloader: int
    tee: int
    snp: int
    microcode: int

    def above(self, other: Tcb) -> tuple[str, ...]:
        """Names of the components that are higher here than in ``other``."""
        return tuple(name for name in COMPONENTS if getattr(self, name) > getattr(other, name))

    def differs(self, other: Tcb) -> tuple[str, ...]:
        """Names of the components that are not the same here and in ``other``."""
        return tuple(name for name in COMPONENTS if getattr(self, name) != getattr(other, name))

    def text(self, names: tuple[str, ...] = ()) -> str:
        """ "bootloader 4, tee 0, snp 24, microcode 219": all components, or those of ``names``."""
        return ", ".join(f"{name} {getattr(self, name)}" for name in names or COMPONENTS)


COMPONENTS: Final = ("fmc", "bootloader", "tee", "snp", "microcode")
_MOST: Final = {"fmc": 127, "bootloader": 127, "tee": 127, "snp": 127, "microcode": 255}


def tcb_of(components: dict[str, int], where: str) -> Tcb:
    """Build from component numbers, those of a report or those of a certificate. Raises MalformedError for one above its range."""
    for name, value in components.items():
        if value > _MOST[name]:
            raise TCB_FORM.failure(where=where, found=f"{name} {value}", expected=f"0..{_MOST[name]}")
    return Tcb(*(components.get(name, 0) for name in COMPONENTS))


@dataclass(frozen=True, slots=True)
class TcbLayout:
    """Which component stands in which byte of a TCB_VERSION, and what the endorsement certificate then looks like.

    struct_version  value of the structVersion extension
    order           component name per byte, first byte first; empty text where the byte is reserved
    """

    struct_version: int
    order: tuple[str, str, str, str, str, str, str, str]

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components that this layout has."""
        return tuple(name for name in self.order if name)

    def decode(self, raw: bytes, where: str) -> Tcb:
        """Read 8 bytes. Raises MalformedError for reserved bytes that are not zero and components out of range."""
        for index, name in enumerate(self.order):
            if not name and raw[index]:
                raise TCB_FORM.failure(where=f"{where} byte {index}", found=f"0x{raw[index]:02x}", expected="0x00 (reserved)")
        return tcb_of({name: raw[index] for index, name in enumerate(self.order) if name}, where)

    def encode(self, tcb: Tcb) -> bytes:
        """Write 8 bytes. A component that the layout lacks must be 0, else ValueError."""
        lost = [name for name in COMPONENTS if name not in self.order and getattr(tcb, name)]
        if lost:
            raise ValueError(f"this product has no {', '.join(lost)}")
        return bytes(getattr(tcb, name) if name else 0 for name in self.order)


# AMD 56860 rev 1.58, tables 3 and 4 (TCB_VERSION of processors before Turin, and of Turin). Where the firmware has reserved bytes the
# certificate of the same layout has reserved SPL extensions.
LAYOUT_0: Final = TcbLayout(0, ("bootloader", "tee", "", "", "", "", "snp", "microcode"))
LAYOUT_1: Final = TcbLayout(1, ("fmc", "bootloader", "tee", "snp", "", "", "", "microcode"))


@dataclass(frozen=True, slots=True)
class ProductLine:
    """What differs between product lines.

    name         as in certificate names and in the URLs of AMD's key distribution service
    chip_id_size significant bytes of CHIP_ID and size of hwID; the rest of CHIP_ID is zero
    role         whose root vouches for it
    models       (family, first model, last model) of its processors, combined as CPUID Fn0000_0001 EAX has them
    """

    product: AmdProduct
    name: str
    layout: TcbLayout
    chip_id_size: int
    role: Role
    models: tuple[tuple[int, int, int], ...]


LINES: Final = {
    line.product: line
    for line in (
        ProductLine(AmdProduct.MILAN, "Milan", LAYOUT_0, 64, Role.AMD_ARK_MILAN, ((0x19, 0x00, 0x0F),)),
        ProductLine(AmdProduct.GENOA, "Genoa", LAYOUT_0, 64, Role.AMD_ARK_GENOA, ((0x19, 0x10, 0x1F), (0x19, 0xA0, 0xAF))),
        ProductLine(AmdProduct.TURIN, "Turin", LAYOUT_1, 8, Role.AMD_ARK_TURIN, ((0x1A, 0x00, 0x11),)),
    )
}
"""Lines with known data. Venice (1Ah 50h-57h, 90h-AFh, C0h-C7h) has another TCB layout, and is refused until that is known."""


def line_of_model(family: int, model: int) -> ProductLine | None:
    """The line of a processor by combined family and model (report version 3 and later), or None."""
    for line in LINES.values():
        if any(family == own and first <= model <= last for own, first, last in line.models):
            return line
    return None


def line_named(name: str) -> ProductLine | None:
    """The line by its name in certificates, or None."""
    return next((line for line in LINES.values() if line.name == name), None)
