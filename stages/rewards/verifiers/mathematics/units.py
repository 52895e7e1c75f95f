"""Units of measure: which words and letters are units, and what each is a multiple of."""

from fractions import Fraction
from math import pi

from stages.text.statements import words_of

# (dimension, of one of its base unit): names. Names of one line are the same unit.
_TABLE: list[tuple[str, float | Fraction, str]] = [
    ("length", 1, "m meter meters metre metres"),
    ("length", Fraction(1, 100), "cm centimeter centimeters centimetre centimetres"),
    ("length", Fraction(1, 1000), "mm millimeter millimeters millimetre millimetres"),
    ("length", Fraction(1, 10), "dm decimeter decimeters decimetre decimetres"),
    ("length", 1000, "km kilometer kilometers kilometre kilometres kms"),
    ("length", Fraction(254, 10000), "inch inches"),
    ("length", Fraction(3048, 10000), "ft foot feet"),
    ("length", Fraction(9144, 10000), "yd yard yards yds"),
    ("length", Fraction(1609344, 1000), "mile miles mi"),
    ("length", Fraction(1, 10**9), "nm nanometer nanometers"),
    ("mass", 1, "kg kilogram kilograms kgs kilo kilos"),
    ("mass", Fraction(1, 1000), "g gram grams gm"),
    ("mass", Fraction(1, 10**6), "mg milligram milligrams"),
    ("mass", 1000, "tonne tonnes ton tons"),
    ("mass", Fraction(45359237, 10**8), "lb lbs pound pounds"),
    ("mass", Fraction(45359237, 16 * 10**8), "oz ounce ounces"),
    ("time", 1, "s sec secs second seconds"),
    ("time", Fraction(1, 1000), "ms millisecond milliseconds"),
    ("time", 60, "min mins minute minutes"),
    ("time", 3600, "h hr hrs hour hours"),
    ("time", 86400, "day days"),
    ("time", 604800, "week weeks"),
    ("months", 1, "month months"),
    ("months", 12, "year years yr yrs"),
    ("volume", 1, "l liter liters litre litres"),
    ("volume", Fraction(1, 1000), "ml milliliter milliliters millilitre millilitres"),
    ("volume", Fraction(3785411784, 10**9), "gal gallon gallons"),
    ("cups", 1, "cup cups"),
    ("area", 1, "acre acres"),
    ("hectare", 1, "ha hectare hectares"),
    ("dollar", 1, "dollar dollars usd $ bucks"),
    ("dollar", Fraction(1, 100), "cent cents ¢"),
    ("euro", 1, "euro euros eur €"),
    ("pound sterling", 1, "gbp £"),
    ("yen", 1, "yen jpy"),
    ("yuan", 1, "yuan rmb cny ¥"),
    ("yuan", Fraction(1, 10), "jiao"),
    ("rupee", 1, "rupee rupees rs inr ₹"),
    ("force", 1, "N newton newtons"),
    ("energy", 1, "J joule joules"),
    ("energy", 1000, "kJ kilojoule kilojoules"),
    ("calorie", 1, "calorie calories cal"),
    ("power", 1, "W watt watts"),
    ("power", 1000, "kW kilowatt kilowatts"),
    ("energy per hour", 1, "kWh"),
    ("potential", 1, "V volt volts"),
    ("current", 1, "ampere amperes amp amps"),
    ("charge", 1, "C coulomb coulombs"),
    ("resistance", 1, "ohm ohms"),
    ("frequency", 1, "Hz hertz"),
    ("frequency", 1000, "kHz"),
    ("frequency", 10**6, "MHz"),
    ("pressure", 1, "Pa pascal pascals"),
    ("pressure", 1000, "kPa"),
    ("temperature", 1, "K kelvin kelvins"),
    ("celsius", 1, "°C celsius"),
    ("fahrenheit", 1, "°F fahrenheit"),
    ("amount", 1, "mol mole moles"),
    ("angle", 1, "rad radian radians rads"),
    ("speed", Fraction(1609344, 3600000), "mph"),
    ("speed", Fraction(1000, 3600), "kmh kph kmph"),
    ("clock", 1, "o'clock"),
    ("unit", 1, "unit units u"),
    ("way", 1, "way ways"),
    ("item", 1, "item items"),
    ("person", 1, "person people persons"),
    ("child", 1, "child children"),
    ("man", 1, "man men"),
    ("woman", 1, "woman women"),
    ("mouse", 1, "mouse mice"),
    ("fish", 1, "fish"),
    ("sheep", 1, "sheep"),
    ("tooth", 1, "tooth teeth"),
    ("page", 1, "page pages"),
    ("student", 1, "student students"),
    ("point", 1, "point points pt pts"),
]
UNITS = {name: (dimension, factor) for dimension, factor, names in _TABLE for name in names.split()}
# Letters that are a unit in the answer only where the reference has no variable, and only after a space.
LETTER_UNITS = frozenset(["m", "g", "s", "h", "l", "L", "N", "J", "W", "V", "K", "C", "A"])
# They may stand without \text and without a space after a number.
ABBREVIATIONS = words_of(
    """
    cm mm km dm kg lb lbs oz ft yd mi min sec hr hrs ml mL mph kmh kph kmph Hz kHz MHz kJ kW kWh Pa kPa mol gal
    cal gm kms ms
    """
)
LENGTHS_SQUARED = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
# Plural nouns by their look that are no nouns, or change what a number before them says.
_NO_NOUNS = words_of(
    """
    minus plus times less versus is was has does this thus plus perhaps yes always besides others losses loss
    backwards downwards upwards forwards afterwards towards negatives positives squares cubes halves thirds
    quarters fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths tens hundreds thousands
    millions billions trillions dozens pairs percents factors powers roots logs logarithms sines cosines means
    equals exceeds remains hypotheses series as us its his hers ours yours us unless across decreases increases
    falls rises drops debts deficits ones twos threes fours fives sixes sevens eights nines pis radians degrees
    millones billones milliards docenas decenas cientos tercios cuartos mitades dizaines centaines douzaines quarts
    tiers milhões bilhões trilhões
    """
)

# Words before a noun that change what the number says.
NO_ADJECTIVES = words_of(
    """
    less fewer more other not no than below above under over of negative minus percent hundred thousand million
    billion dozen half quarter third times out per squared cubed remainder left right down up north south east
    west extra missing short lost too if when or and but wrong without except additional another
    """
)


def unit_named(word: str) -> tuple[str, float | Fraction] | None:
    """Returns the dimension and the factor of a unit, or None where the word names none."""
    if found := UNITS.get(word) or UNITS.get(word.lower() if len(word) > 2 else word):
        return found
    return ("angle", Fraction(pi) / 180) if word == "°" else None


def counted_noun(word: str) -> str | None:
    """Returns the noun of a plural such as "apples", which counts what a number before it counts, or None."""
    lower = word.lower()
    is_plural = len(lower) > 3 and lower.endswith("s") and not lower.endswith(("ss", "us", "is", "'s"))
    return lower.rstrip("s") if is_plural and lower.isalpha() and lower not in _NO_NOUNS else None
