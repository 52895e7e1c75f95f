"""The languages that a prompt can have: their ISO 639-1 codes, and the scripts that they are written in.

This is plain data. The configuration and the rows of a data source are checked against it.
"""

_CODES = """
aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en
eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja
jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb
nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq
sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
CODES = frozenset(_CODES.split())

# Scripts, as they begin Unicode's names of characters, and the languages that are written in them.
_SCRIPTS = {
    ("CJK",): "zh",
    ("CJK", "HIRAGANA", "KATAKANA"): "ja",
    ("HANGUL",): "ko",
    ("CYRILLIC",): "ab av ba be bg ce cu cv kk kv ky mk mn os ru tg tt uk",
    ("CYRILLIC", "LATIN"): "bs sr uz az tk",
    ("GREEK",): "el",
    ("ARABIC",): "ar fa ks ps sd ug ur",
    ("ARABIC", "LATIN"): "ku",
    ("HEBREW",): "he yi",
    ("DEVANAGARI",): "hi mr ne pi sa",
    ("BENGALI",): "as bn",
    ("GURMUKHI",): "pa",
    ("GUJARATI",): "gu",
    ("ORIYA",): "or",
    ("TAMIL",): "ta",
    ("TELUGU",): "te",
    ("KANNADA",): "kn",
    ("MALAYALAM",): "ml",
    ("SINHALA",): "si",
    ("THAI",): "th",
    ("LAO",): "lo",
    ("TIBETAN",): "bo dz",
    ("MYANMAR",): "my",
    ("GEORGIAN",): "ka",
    ("ETHIOPIC",): "am ti",
    ("KHMER",): "km",
    ("ARMENIAN",): "hy",
    ("THAANA",): "dv",
    ("YI",): "ii",
    ("CANADIAN",): "cr iu oj",
}
SCRIPTS: dict[str, tuple[str, ...]] = {code: scripts for scripts, codes in _SCRIPTS.items() for code in codes.split()}

KANA = frozenset({"HIRAGANA", "KATAKANA"})

# Scripts without spaces between words: a character counts as a word.
WITHOUT_SPACES = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI"})

# Scripts with letters that look alike: a word with letters of two of them is of no language.
ALPHABETS_MIXED_UP = frozenset({"LATIN", "CYRILLIC", "GREEK"})

# The languages that a text can be taken for without being asked for in them; the identifier knows more, which it
# confuses with these.
_COMMON = """
af am ar az be bg bn bs ca cs da de el en es et fa fi fr gu he hi hr hu hy id is it ja ka kk km kn ko ky lo lt lv mk
ml mn mr ms my ne nl no pa pl pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh
"""
COMMON = frozenset(_COMMON.split())

# Languages that the identifier cannot tell apart from these, or need not.
RELATIVES: dict[str, tuple[str, ...]] = {
    "zh": ("wuu", "yue"),
    "ar": ("arz", "ary"),
    "no": ("nb", "nn"),
    "nb": ("no", "nn"),
    "nn": ("no", "nb"),
    "id": ("ms",),
    "ms": ("id",),
    "hr": ("bs", "sr"),
    "bs": ("hr", "sr"),
    "sr": ("bs", "hr"),
    "en": ("pcm",),
    "uz": ("uzs",),
    "es": ("ext",),
    "pt": ("gl",),
    "nl": ("af",),
}


def scripts_of(language: str) -> tuple[str, ...]:
    """The scripts of a language, as they begin Unicode's names of characters; Latin where nothing else is known."""
    return SCRIPTS.get(language, ("LATIN",))


def language_problem(language: str) -> str | None:
    """Why a configuration or a row cannot have this language; None where it can."""
    return None if language in CODES else f"{language!r} is no ISO 639-1 code: use two letters as in en, zh, de, ja"
