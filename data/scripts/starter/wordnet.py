"""What kind of thing a word names and which words are common, from WordNet's database files (Debian's wordnet-base)."""

from pathlib import Path

# Kinds that somebody looking for a picture would type, keyed by WordNet's lemma.
KINDS = {
    "animal": "animal", "bird": "bird", "fish": "fish", "insect": "insect", "arachnid": "spider",
    "reptile": "reptile", "snake": "snake", "amphibian": "amphibian", "mammal": "mammal", "dog": "dog",
    "big_cat": "big cat", "domestic_cat": "cat", "horse": "horse", "rodent": "rodent", "dinosaur": "dinosaur",
    "primate": "monkey", "bear": "bear", "plant": "plant", "tree": "tree", "flower": "flower", "fruit": "fruit",
    "edible_fruit": "fruit", "vegetable": "vegetable", "food": "food", "beverage": "drink", "alcohol": "drink",
    "cake": "cake", "bread": "bread", "sweet": "candy", "dish": "dish", "vehicle": "vehicle", "car": "car",
    "truck": "truck", "bicycle": "bicycle", "boat": "boat", "ship": "ship", "aircraft": "aircraft",
    "airplane": "airplane", "train": "train", "building": "building", "house": "house", "furniture": "furniture",
    "chair": "chair", "table": "table", "musical_instrument": "musical instrument", "tool": "tool",
    "weapon": "weapon", "clothing": "clothes", "garment": "clothes", "headdress": "hat", "footwear": "shoe",
    "woman": "woman", "man": "man", "child": "child", "person": "person", "body_part": "body", "bottle": "bottle",
    "toy": "toy", "ball": "ball", "sport": "sport", "game": "game", "computer": "computer", "lamp": "lamp",
    "jewelry": "jewelry", "money": "money", "book": "book", "celestial_body": "space", "star": "star",
    "weather": "weather", "mountain": "mountain", "kitchen_utensil": "kitchen", "cutlery": "cutlery",
    "home_appliance": "appliance", "writing_implement": "pen", "clock": "clock", "timepiece": "clock",
    "monster": "monster", "imaginary_being": "fantasy", "body_of_water": "water", "crown": "crown",
    "drum": "drum", "stringed_instrument": "string instrument", "wind_instrument": "wind instrument",
    "medicine": "medicine", "military_vehicle": "tank",
}  # fmt: skip
_SUFFIXES = (("s", ""), ("ies", "y"), ("es", ""), ("ves", "f"), ("men", "man"))


class WordNet:
    """Nouns with their first sense's chain of hypernyms."""

    def __init__(self, folder: Path) -> None:
        """Read `index.noun`, `data.noun`, `noun.exc` and `index.adj` of the folder."""
        self._folder = folder
        self._first: dict[str, str] = {}
        self._tagged: dict[str, int] = {}
        for line in (folder / "index.noun").read_text(encoding="latin-1").splitlines():
            if not line.startswith(" "):
                lemma, _, _, pointers, *rest = line.split()
                rest = rest[int(pointers) :]
                self._tagged[lemma] = int(rest[1])
                self._first[lemma] = rest[2]
        self._lemmas: dict[str, list[str]] = {}
        self._above: dict[str, list[str]] = {}
        for line in (folder / "data.noun").read_text(encoding="latin-1").splitlines():
            if not line.startswith(" "):
                fields = line.split(" | ")[0].split()
                n = int(fields[3], 16)
                self._lemmas[fields[0]] = [w.lower() for w in fields[4 : 4 + 2 * n : 2]]
                pointers_at = 4 + 2 * n
                triples = fields[pointers_at + 1 :]
                self._above[fields[0]] = [
                    triples[i + 1] for i in range(0, 4 * int(fields[pointers_at]), 4) if triples[i] == "@"
                ]
        exceptions = (folder / "noun.exc").read_text(encoding="latin-1").splitlines()
        self._singular = {line.split()[0]: line.split()[1] for line in exceptions}

    def _sense(self, lemma: str) -> str | None:
        if lemma in self._first:
            return self._first[lemma]
        if lemma in self._singular:
            return self._first.get(self._singular[lemma])
        for ending, other in _SUFFIXES:
            if lemma.endswith(ending) and (lemma[: -len(ending)] + other) in self._first:
                return self._first[lemma[: -len(ending)] + other]
        return None

    def kinds(self, name: str) -> list[str]:
        """What the longest noun at the end of the name is a kind of: `palm tree` gives tree and plant."""
        parts = name.split()
        for start in range(len(parts)):
            sense = self._sense("_".join(parts[start:]))
            if sense is not None:
                break
        else:
            return []
        found: dict[str, None] = {}
        level = [sense]
        while level:
            for synset in level:
                for lemma in self._lemmas[synset]:
                    if lemma in KINDS and not (lemma == "food" and "plant" in found):
                        found[KINDS[lemma]] = None
            level = [above for synset in level for above in self._above[synset]]
        return [kind for kind in found if kind != name]

    def common_words(self) -> list[str]:
        """Nouns and adjectives that occur in WordNet's sense-tagged texts, of at most two words."""
        nouns = [lemma for lemma, tagged in self._tagged.items() if tagged]
        adjectives = []
        for line in (self._folder / "index.adj").read_text(encoding="latin-1").splitlines():
            if not line.startswith(" "):
                lemma, _, _, pointers, *rest = line.split()
                if int(rest[int(pointers) + 1]):
                    adjectives.append(lemma)
        return [w.replace("_", " ") for w in (*nouns, *adjectives) if len(w) > 2 and w.count("_") <= 1]
