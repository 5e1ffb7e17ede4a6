"""The picture sources of the starter model: where each comes from, under which licence, and what is left out of it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class IconSource:
    """One npm icon set in Iconify's JSON form (`@iconify-json/<name>`)."""

    name: str
    licence: str
    attribution: str
    weight: float = 1.0  # how often its pictures are drawn in training, openclipart being 2
    silhouette: bool = False  # drawn in one colour: training recolours it
    interface: bool = False  # a user-interface set, of which only names of things are kept
    flags: bool = False  # its 260 flags are kept too; two drawings of each are enough


ICON_SOURCES = (
    IconSource("emojione", "CC-BY-4.0", "EmojiOne 2, Ranks.com"),
    IconSource("flat-color-icons", "MIT", "Icons8"),
    IconSource("fluent-color", "MIT", "Microsoft Corporation", weight=0.4, interface=True),
    IconSource("fluent-emoji", "MIT", "Microsoft Corporation"),
    IconSource("fluent-emoji-flat", "MIT", "Microsoft Corporation"),
    IconSource("fluent-emoji-high-contrast", "MIT", "Microsoft Corporation", weight=0.4, silhouette=True),
    IconSource("fxemoji", "Apache-2.0", "Mozilla"),
    IconSource("game-icons", "CC-BY-3.0", "game-icons.net contributors", weight=0.6, silhouette=True),
    IconSource("healthicons", "MIT", "Resolve to Save Lives", weight=0.3, silhouette=True, interface=True),
    IconSource("icon-park", "Apache-2.0", "ByteDance", weight=0.4, interface=True),
    IconSource("maki", "CC0-1.0", "Mapbox", weight=0.3, silhouette=True),
    IconSource("marketeq", "MIT", "Marketeq", weight=0.5, interface=True),
    IconSource("mdi", "Apache-2.0", "Pictogrammers", weight=0.3, silhouette=True, interface=True),
    IconSource("meteocons", "MIT", "Bas Milius", weight=0.5),
    IconSource("noto", "Apache-2.0", "Google Inc", flags=True),
    IconSource("noto-v1", "Apache-2.0", "Google Inc"),
    IconSource("streamline-color", "CC-BY-4.0", "Streamline", weight=0.4, interface=True),
    IconSource("streamline-cyber-color", "CC-BY-4.0", "Streamline", weight=0.5, interface=True),
    IconSource("streamline-emojis", "CC-BY-4.0", "Streamline"),
    IconSource("streamline-flex-color", "CC-BY-4.0", "Streamline", weight=0.3, interface=True),
    IconSource("streamline-freehand-color", "CC-BY-4.0", "Streamline", weight=0.7, interface=True),
    IconSource("streamline-kameleon-color", "CC-BY-4.0", "Streamline", weight=0.8),
    IconSource("streamline-plump-color", "CC-BY-4.0", "Streamline", weight=0.4, interface=True),
    IconSource("streamline-stickies-color", "CC-BY-4.0", "Streamline"),
    IconSource("streamline-ultimate-color", "CC-BY-4.0", "Streamline", weight=0.6, interface=True),
    IconSource("temaki", "CC0-1.0", "Bryan Housel", weight=0.4, silhouette=True),
    IconSource("twemoji", "CC-BY-4.0", "Twitter, Inc and other contributors", flags=True),
)
OPENCLIPART_WEIGHT = 2.0
FLUENT_3D = IconSource(
    "fluent-emoji-3d", "MIT", "Microsoft Corporation, packaged by LobeHub"
)  # npm @lobehub/fluent-emoji-3d
NPM_PACKAGES = (*(f"@iconify-json/{s.name}" for s in ICON_SOURCES), "@lobehub/fluent-emoji-3d", "emojibase-data")
DEBIAN_PACKAGES = ("openclipart-svg", "openclipart-png", "wordnet-base")

# Names that are about a program's buttons, not about things: useless or harmful for finding clip art.
_INTERFACE_NAME = re.compile(
    r"(?:^|-)(?:account|ad|add|alarm|alert|align\w*|alpha\w*|alternate|android|angle|api|app|apple|application|arrange\w*|arrow\w*|attach\w*|"
    r"badge|bar|block|blog|bluetooth|border|box|branch|browser|bubble|bullet\w*|button|calendar|cancel|caution|cellular|center|chart|chat|"
    r"check\w*|chevron\w*|circle|click|close|code|column\w*|comment\w*|connect\w*|control\w*|copy|corner|cryptocurrency|cursor|dashboard|data\w*|"
    r"delete|desktop|dialog\w*|direction\w*|disable\w*|distribut\w*|document|double|down|download|drag|edit|email|error|exchange|expand|export|"
    r"facebook|favorite|figma|file|filter|flip|focus|folder|form\w*|full|google|graph|grid|group|hashtag|hierarchy|history|horizontal\w*|"
    r"html\w*|in|inbox|indent|info\w*|input|insert|instagram|internet|java\w*|language|layer\w*|layout|left|line|link\w*|list|load\w*|lock|log|"
    r"login|logo|logout|magnifier|mail|manage\w*|margin|mark|math|maximize|menu|merge|message|microsoft|minimize|minus|mode|module|more|move|multiple|"
    r"navigation|network\w*|new|next|notification\w*|numeric|off|on|open|option\w*|order|outline|page|paragraph|password|paste|pause|paypal|phishing|"
    r"pixel|play|plus|point\w*|preview|previous|program\w*|qr|query|question|rectangle|redo|refresh|reload|remove|repeat|replace|reply|request|"
    r"reset|resize|right|rotate|rows?|save|scale|scan\w*|screen|scroll|search|security|select\w*|send|server\w*|setting\w*|share\w*|shuffle|"
    r"sign|signal|skip|socials?|sort\w*|split|spreadsheet|square|statistics?|status|stop|subtract|success|switch|sync\w*|synchronize|tab|table|tag|"
    r"target|task|text|toggle|transfer|transform|trending|twitter|type|undo|unlink|unlock|up|update|upload|url|user|variant|vertical\w*|"
    r"view|visible|voice|volume|warning|web|website|wifi|window|wireless|workflow|world|write|zoom)(?:-|$)"
)
# Variants of one drawing that differ by skin colour or by who stands beside whom: one of each is enough.
_VARIANT_NAME = re.compile(
    r"skin-tone|(?:^|-)(?:medium-light|medium-dark|light|medium|dark)(?:-|$)|^(?:kiss|couple-with|family|people-holding)-"
)


def wanted(source: IconSource, name: str) -> bool:
    """Whether an icon shows a thing rather than a button, and is not the variant of another."""
    if source.interface and (_INTERFACE_NAME.search(name) or name.count("-") > 2):
        return False
    return not _VARIANT_NAME.search(name)
