"""Makes one thumbnail, in a process of its own: ``python -m files_service.operations.thumbnailer``.

The picture is the file on standard input, the thumbnail goes to standard output. Pictures come from
strangers and decoders have faults: this process has no secrets in its environment, little memory
and a few seconds; it may die and nothing else does.
"""

import os
import resource
import sys
from typing import Any, Final

MEMORY: Final = 1536 * 1024 * 1024  # bytes of address space
SECONDS: Final = 20  # of CPU
NOT_MADE: Final = 3  # exit status: the picture cannot be read
TOO_LARGE: Final = 4  # exit status: its header told of too many pixels, none was looked at
_WHITE: Final = [255, 255, 255]


def main() -> None:
    """Arguments: width, height, ``crop`` or ``contain``, quality, file ending, pixel limit."""
    width, height, mode, quality, ending, pixels = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import pyvips  # noqa: PLC0415 - under the limits

    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)
    try:
        source: Any = pyvips.Source.new_from_descriptor(0)
        header: Any = pyvips.Image.new_from_source(source, "", access="sequential")
        if header.width * header.height > int(pixels):
            sys.exit(TOO_LARGE)  # before a pixel is decoded
        os.lseek(0, 0, os.SEEK_SET)
        images: Any = pyvips.Image
        made: Any = images.thumbnail_source(
            pyvips.Source.new_from_descriptor(0),
            int(width),
            height=int(height),
            crop="centre" if mode == "crop" else "none",
            size="both" if mode == "crop" else "down",
        )
        if ending == ".jpeg" and made.hasalpha():
            made = made.flatten(background=_WHITE)
        options = {"Q": int(quality)} if ending in {".jpeg", ".webp"} else {}
        data: bytes = made.write_to_buffer(ending, strip=True, **options)
    except pyvips.Error:
        sys.exit(NOT_MADE)
    sys.stdout.buffer.write(data)


if __name__ == "__main__":
    main()
