"""Read what the linker made: addresses of functions, and the memory that a model takes."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# An input section in a link map: name, address, size, object file. Long names fill a line.
_SECTION = re.compile(r"^ (\.[^\s]+|COMMON)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$")
_FLASH = (".text", ".rodata", ".srodata", ".data", ".sdata")
_RAM = (".data", ".sdata", ".bss", ".sbss", "COMMON")


@dataclass(frozen=True)
class Footprint:
    """Say how much memory a linked program takes, in bytes.

    Attributes:
        flash_bytes: Code and constants of the model's own objects, as far as they were linked.
        state_bytes: The state struct, saved part and scratch.
        static_ram_bytes: The state struct and the static variables of the model's objects.
        image_flash_bytes: Flash of the whole program, with start code, C library and our runner.
        image_ram_bytes: RAM of the whole program without the stack, with the runner's buffers.
    """

    flash_bytes: int
    state_bytes: int
    static_ram_bytes: int
    image_flash_bytes: int
    image_ram_bytes: int


@dataclass(frozen=True)
class Image:
    """A linked program: ``program.elf`` with its link map beside it."""

    elf: Path
    map: Path

    @cached_property
    def symbols(self) -> dict[str, tuple[int, int]]:
        """Address and size of each function and variable."""
        from elftools.elf.elffile import ELFFile
        from elftools.elf.sections import SymbolTableSection

        found: dict[str, tuple[int, int]] = {}
        with self.elf.open("rb") as stream:
            table = ELFFile(stream).get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)  # nothing strips the program
            for symbol in table.iter_symbols():
                kind = symbol["st_info"]["type"]
                if kind in ("STT_FUNC", "STT_OBJECT"):
                    # The lowest bit of an Arm function's value says Thumb.
                    mask = -2 if kind == "STT_FUNC" else -1
                    found[symbol.name] = (symbol["st_value"] & mask, symbol["st_size"])
        return found

    def address(self, name: str) -> int:
        """Return where a function begins."""
        return self.symbols[name][0]

    def function_at(self, address: int) -> str:
        """Return the name of the function that holds an address, or ``"?"``."""
        spans = sorted((start, size, name) for name, (start, size) in self.symbols.items())
        at = bisect_right(spans, (address, 1 << 64, "")) - 1
        if at < 0:
            return "?"
        start, size, name = spans[at]
        return name if address < start + size else "?"

    def footprint(self, prefix: str, state: str) -> Footprint:
        """Measure the memory.

        Args:
            prefix: How the file names of the model's objects begin.
            state: Variable of the runner that holds the model's state.
        """
        flash = ram = 0
        for section, size, file in _linked_sections(self.map.read_text(errors="replace")):
            if Path(file).name.startswith(prefix):
                flash += size * section.startswith(_FLASH)
                ram += size * section.startswith(_RAM)
        state_bytes = self.symbols[state][1]
        image_flash, image_ram = self._image_sizes()
        return Footprint(flash, state_bytes, ram + state_bytes, image_flash, image_ram)

    def _image_sizes(self) -> tuple[int, int]:
        from elftools.elf.constants import SH_FLAGS
        from elftools.elf.elffile import ELFFile

        flash = ram = 0
        with self.elf.open("rb") as stream:
            for section in ELFFile(stream).iter_sections():
                flags, size = section["sh_flags"], section["sh_size"]
                if not flags & SH_FLAGS.SHF_ALLOC or section.name in (".stack", ".tbss"):
                    continue
                stored = section["sh_type"] != "SHT_NOBITS"
                flash += size * stored
                ram += size * (bool(flags & SH_FLAGS.SHF_WRITE) and section.name != ".init")
        return flash, ram


def _linked_sections(text: str) -> list[tuple[str, int, str]]:
    """Return section, size and object file of what was linked, from the text of a link map."""
    linked = text.partition("\nLinker script and memory map")[2]
    joined = re.sub(r"^( (?:\.\S+|COMMON))\n\s+(?=0x)", r"\1 ", linked, flags=re.MULTILINE)
    matches = (_SECTION.match(line) for line in joined.splitlines())
    return [(m.group(1), int(m.group(3), 16), m.group(4)) for m in matches if m]
