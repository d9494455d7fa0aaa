"""Les écrans devant lesquels le lecteur est assis."""

from typing import Literal, TypeAlias

from playwright.sync_api import ViewportSize

Theme: TypeAlias = Literal["light", "dark"]

PHONE: ViewportSize = {"width": 360, "height": 740}
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
A4: ViewportSize = {"width": 680, "height": 1000}  # between the margins, in CSS pixels
