"""ISCC Image-Code (ISO 24138), 64 bits: the third fingerprint, for other registries that speak it.

The normalisation is the standard's: empty borders off, grey, 32 x 32 pixels bicubic; EXIF rotation and transparency
are dealt with by `heldout.pictures` before. The code itself is iscc-lib's.
"""

import iscc_lib
from PIL import Image, ImageChops

SIDE = 32


def image_code(image: Image.Image) -> str:
    """`ISCC:EEA...` of an upright RGB picture."""
    grey = trim_border(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return str(iscc_lib.gen_image_code_v0(grey.tobytes(), 64)["iscc"])


def trim_border(image: Image.Image) -> Image.Image:
    """Without the border that has the colour of the top left pixel; a picture of one colour stays whole."""
    background = Image.new(image.mode, image.size, image.getpixel((0, 0)))
    box = ImageChops.difference(image, background).getbbox()
    return image if box is None or box == (0, 0, *image.size) else image.crop(box)
