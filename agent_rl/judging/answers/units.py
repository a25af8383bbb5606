"""What stands beside a value: units, currencies, percent, and the things that are counted.

Both sides may have a unit, one may, or none. A unit that only one side has is left out. Two units must be of the same
kind, and the values are converted: 500 cm is 5 m and neither 5 m is 5 cm nor 5 m is 5 s. Things that are counted
(`5 apples`) are units of kinds of their own.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from fractions import Fraction

from .texts import is_product
from .writing import Same, closing, listed, plain_text


@dataclass(frozen=True)
class Unit:
    """Powers of base units, how many of them it is (with `pi` times π), and the things that are counted."""

    powers: dict[str, int] = field(default_factory=dict[str, int])
    factor: Fraction = Fraction(1)
    multiple: int = 1
    """What a word such as `million` multiplies the value by."""
    pi: bool = False
    things: frozenset[str] = frozenset()
    pounds: bool = False
    """Whether it is said as `pounds`, which are weight or money."""
    ambiguous: bool = False
    """Whether it may as well be a variable: `m` in `5 m`."""


def _table() -> dict[str, tuple[str, Fraction]]:
    """Name of a unit -> its base units, such as `kg m s-2`, and the factor."""
    table: dict[str, tuple[str, Fraction]] = {}
    for line in _UNITS.strip().splitlines():
        base, factor, names = (part.strip() for part in line.split("|"))
        table |= dict.fromkeys(names.split(), (base, Fraction(factor)))
    for name in _PREFIXED:
        base, factor = table[name]
        for prefix, share in _PREFIXES.items():
            table.setdefault(prefix + name, (base, factor * Fraction(share)))
    return table | {name: table[said] for name, said in (("kilohm", "kiloohm"), ("kilohms", "kiloohms"))}


_PREFIXES = {"nano": "1e-9", "micro": "1e-6", "milli": "1e-3", "kilo": "1e3", "mega": "1e6", "giga": "1e9"}
_PREFIXED = listed(
    "meter meters metre metres second seconds gram grams liter liters litre litres newton newtons joule joules watt "
    "watts pascal pascals hertz calorie calories byte bytes volt volts amp amps ampere amperes ohm ohms coulomb "
    "coulombs mole moles electronvolt electronvolts"
)
"""Names of units that are said with a prefix: `milliamps`."""


_UNITS = """
unit | 1             | unit units
m    | 1             | m meter meters metre metres
m    | 1/100         | cm centimeter centimeters centimetre centimetres
m    | 1/1000        | mm millimeter millimeters millimetre millimetres
m    | 1000          | km kilometer kilometers kilometre kilometres kms
m    | 1/10          | dm decimeter decimeters
m    | 1/1000000     | µm um micrometer micrometers micron microns
m    | 1/1000000000  | nm nanometer nanometers
m    | 0.0254        | in inch inches
m    | 0.3048        | ft foot feet
m    | 0.9144        | yd yard yards yds
m    | 1609.344      | mi mile miles
s    | 1             | s sec secs second seconds
s    | 1/1000        | ms millisecond milliseconds
s    | 60            | min mins minute minutes
s    | 3600          | h hr hrs hour hours
s    | 86400         | day days
s    | 604800        | week weeks
month | 1            | month months
month | 12           | year years yr yrs
g    | 1             | g gram grams gm
g    | 1000          | kg kilogram kilograms kgs
g    | 1/1000        | mg milligram milligrams
g    | 1000000       | tonne tonnes
g    | 453.59237     | lb lbs pound pounds
g    | 28.349523125  | oz ounce ounces
m3   | 1/1000        | L l liter liters litre litres
m3   | 1/1000000     | mL ml milliliter milliliters millilitre millilitres cc
m3   | 1/10000       | dL dl deciliter deciliters
m3   | 0.003785411784 | gal gallon gallons
m3   | 0.000946352946 | quart quarts qt
dollar | 1           | $ dollar dollars USD usd buck bucks
dollar | 1/100       | ¢ cent cents
euro | 1             | € euro euros EUR
pound | 1            | £ GBP quid
yen  | 1             | ¥ yen yuan
rupee | 1            | ₹ Rs rs rupee rupees INR
won  | 1             | ₩ won
g m s-2 | 1000       | N newton newtons
g m2 s-2 | 1000      | J joule joules
g m2 s-2 | 1000000   | kJ kilojoule kilojoules
g m2 s-3 | 1000      | W watt watts
g m2 s-3 | 1000000   | kW kilowatt kilowatts
g m-1 s-2 | 1000     | Pa pascal pascals
s-1  | 1             | Hz hertz
s-1  | 1000          | kHz
s-1  | 1000000       | MHz
s-1  | 1000000000    | GHz
g m2 s-2 | 3600000000 | kWh
g m2 s-2 | 4184      | cal calorie calories
g m2 s-2 | 4184000   | kcal Cal
g m-1 s-2 | 1000000  | kPa
g m-1 s-2 | 1000000000 | MPa
g m2 s-3 | 1000000   | kW kilowatts
g m2 s-3 | 1000000000 | MW megawatts
turn s-1 | 1/60      | rpm
electronvolt | 1     | eV electronvolt electronvolts
electronvolt | 1000  | keV
electronvolt | 1000000 | MeV
atmosphere | 1       | atm atmosphere atmospheres
decibel | 1          | dB decibel decibels
byte | 1             | B byte bytes
byte | 1000          | KB kB
byte | 1000000       | MB
byte | 1000000000    | GB
byte | 1000000000000 | TB
m s-1 | 0.44704      | mph
m s-1 | 5/18         | kmh kph kmph
volt | 1             | V volt volts
volt | 1000          | kV
volt | 1/1000        | mV
ampere | 1           | A amp amps ampere amperes
ampere | 1/1000      | mA
ampere | 1/1000000   | µA uA
ohm  | 1             | Ω ohm ohms
ohm  | 1000          | kΩ
ohm  | 1000000       | MΩ
coulomb | 1          | coulomb coulombs
kelvin | 1           | K kelvin kelvins
mol  | 1             | mol mole moles mols
mol m-3 | 1000       | M molar
mol m-3 | 1          | mM
celsius | 1          | C Celsius celsius centigrade
fahrenheit | 1       | F Fahrenheit fahrenheit
radian | 1           | rad radian radians
percent | 1          | % percent percentage pct
"""
_BY_NAME = _table()
_DEGREES = frozenset({"°", "degree", "degrees", "deg"})
_MULTIPLES = {"hundred": 100, "dozen": 12, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MULTIPLES |= {f"{name}s": value for name, value in _MULTIPLES.items()} | {"lakh": 10**5, "crore": 10**7}
_FILLERS = frozenset(listed("of the a an in each total altogether whole exactly st nd rd th"))
_INCHES = re.compile(r"(-?\d+(?:\.\d+)?)\s*('{1,2}|\")")
_MARKED = re.compile(r"(\d+)\s*'\s*(\d+(?:\.\d+)?)\s*(?:\"|'')")
"""`5'` and `6"`, feet and inches; `5'6"` has both."""
_CHANGING = frozenset(
    listed(
        "or and not nor to plus minus less than greater between if but is are was wrong either maybe half "
        "because since so with "
        "quarter factorial squared cubed unless except over under above below fewer at least most mod modulo "
        "choose "
        "sin cos tan ln exp sqrt pi theta alpha beta gamma lambda infinity negative positive point percentile base "
        "remainder am pm yes no true false zero one two three four five six seven eight nine ten eleven twelve "
        "twenty thirty forty fifty sixty seventy eighty ninety none any all guess except some "
        "tenths hundredths thousandths halves thirds fourths fifths quarters pair pairs couple score tens "
        "twice thrice double triple opposite "
        "gross bn mn mil mega giga"
    )
)
_TOKEN = re.compile(r"\^\{\\circ ?\}|°|\^\{?(-?\d+)\}?|/|\\cdot|[-·.*]|[A-Za-zµμΩ]+|[%$€£¥₹₩¢]| +")
_CURRENCY = re.compile(r"(-?)\s*(?:US|AU|CA|HK)?\s*([$€£¥₹₩]|(?:Rs|USD|EUR|GBP|INR)\b\.?)\s*(-?)(?=[\d.\\(])")
_VALUE_END = re.compile(
    r"(?<=[\d)}!\]])(?=\s*(?:[A-Za-z\\^%$€£¥₹₩¢µμΩ]|\([A-Za-z]))|(?=\\text\{)|(?<=\\pi)(?=\s+[A-Za-z\\^%])"
)
_DOUBTFUL = re.compile(r"(?<=\d)\s*'$|(?<=\d)\s*(?:\\text\{\s*)?M\}?$")
"""A prime, and the M of millions, are units only where the other side has one."""
_TWO = re.compile(r"(\d+) ?([A-Za-z]+\.?),? (?:and )?(\d+(?:\.\d+)?) ?([A-Za-z]+)\.?")
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|log|ln)")
_VARIABLE = re.compile(r"(?<!\\)(?<![A-Za-z])[A-Za-z]")


def units(gold: str, given: str, same: Same) -> bool | None:
    """Values are compared without the unit that one side lacks; two units must be of one kind, and are converted."""
    (left, unit), (right, other) = split(gold), split(given)
    if unit is None and other is None:
        return None
    if (unit is None and _DOUBTFUL.search(given)) or (other is None and _DOUBTFUL.search(gold)):
        return None
    equal = _values_same(left, unit, right, other, same)
    doubtful = all(one is None or one.ambiguous for one in (unit, other))
    return None if not equal and doubtful else equal


def _values_same(left: str, unit: Unit | None, right: str, other: Unit | None, same: Same) -> bool:
    if unit is None or other is None:
        known = unit or other
        assert known is not None

        def without(factor: Unit) -> bool:
            """Whether both are the same if the value that has the unit is multiplied by `factor`."""
            return same(
                _times(left, factor, Unit()) if unit else left, right if unit else _times(right, factor, Unit())
            )

        if without(Unit()):
            return True
        cents = unit is None and known.powers == {"dollar": 1} and known.factor != 1
        if cents or known.powers == {"percent": 1}:
            # A percentage is also its hundredth: 50 % for 1/2; and 25 cents are the gold 0.25.
            return without(Unit(factor=Fraction(1, 100)))
        return known.pi and without(known)
    if not (unit.powers or unit.things) or not (other.powers or other.things):
        return same(left, right)  # `12 square units`
    if unit.powers != other.powers:
        money = (unit.pounds and other.powers == {"pound": 1}) or (other.pounds and unit.powers == {"pound": 1})
        return money and same(left, right)
    if unit.things and other.things and not (unit.things <= other.things or other.things <= unit.things):
        return False
    if unit.factor == other.factor and unit.pi == other.pi:
        return same(left, right)
    return same(_times(left, unit, other), _times(right, other, unit))


def _times(value: str, unit: Unit, other: Unit) -> str:
    r"""`value` times the unit's factor, written as a product; π only if the other's factor has none."""
    factor = unit.factor
    if factor == 1 and not (unit.pi and not other.pi):
        return value
    pi = r"\pi" if unit.pi and not other.pi else ""
    return rf"({value})\cdot \frac{{{factor.numerator}{pi}}}{{{factor.denominator}}}"


def is_unit(text: str) -> bool:
    """Whether `text` names units and nothing else: `dollars`, `per cent`, `miles per hour`."""
    unit = _unit(f" {text}", "")
    return unit is not None and bool(unit.powers) and not unit.things


def split(text: str) -> tuple[str, Unit | None]:
    """(the value, its unit) of `text`; (`text`, None) if it has no unit."""
    if match := _CURRENCY.match(text):
        rest, behind = split(text[match.end() :])
        base, factor = _BY_NAME[match[2].rstrip(".")]
        unit = Unit({base: 1}, factor)
        if behind is not None:
            share = behind.factor if base in behind.powers else factor * behind.factor  # `$5 dollars` is said twice
            unit = dataclasses.replace(behind, powers={base: 1, **behind.powers}, factor=share)
        return match[1] + match[3] + rest, unit
    if match := _INCHES.fullmatch(text):
        return match[1], Unit({"m": 1}, _BY_NAME["ft" if match[2] == "'" else "in"][1])
    for match in _VALUE_END.finditer(text):
        value, rest = text[: match.start()].rstrip(), text[match.start() :]
        if not value or not _is_closed(value):
            continue
        value = re.sub(r"\\cdot$|~$|-$", "", value).rstrip()
        if (unit := _unit(rest, value)) is not None:
            return (value if unit.multiple == 1 else rf"({value})\cdot {unit.multiple}"), unit
    return text, None


def compound(text: str) -> str:
    """`1 hour and 30 minutes` as `90 minutes`: two values with units of one kind are added; other texts unchanged."""
    if both := _MARKED.fullmatch(text):
        text = f"{both[1]} ft {both[2]} in"
    match = _TWO.fullmatch(plain_text(text))
    names = [match[2].rstrip("."), match[4]] if match else []
    units = [_BY_NAME.get(name) or _BY_NAME.get(name.lower()) for name in names]
    if match is None or not units[0] or not units[1] or units[0][0] != units[1][0] or units[0][1] <= units[1][1]:
        return text
    value = Fraction(match[1]) * units[0][1] / units[1][1] + Fraction(match[3])
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}} \text{{{match[4]}}}"


def _is_closed(value: str) -> bool:
    return all(value.count(a) == value.count(b) for a, b in ("()", "{}", "[]"))


def _unit(rest: str, value: str) -> Unit | None:
    """The unit that `rest` writes behind `value`; None if it writes none."""
    upright, spaced = bool(re.match(r"\s*(?:\\frac\{)?\\text", rest)), rest[:1] == " "
    text = plain_text(_quotient(rest.strip())).strip()
    text = re.sub(r"\bper\s+cent\b", "percent", re.sub(r"\\Omega(?![a-z])\s*", "Ω ", text)).strip()
    text = re.sub(r"[()]", " ", re.sub(r"\((?:s|es)\)", "", text)).strip()
    text = re.sub(r"(?<![A-Za-z])ms\s*(?=\^\{?\s*-)", "m s", text)
    parsed = _powers(text)
    if parsed is None:
        return None
    unit, names = parsed
    if unit.pi and _FUNCTION.search(value):
        return None
    if not names:
        return unit if unit.powers or _is_filler(text) else None
    if upright:
        return unit
    letters = [name for name in names if len(name) == 1 and name.isalpha() and name != "Ω" and "°" not in names]
    if letters and not spaced:
        return None
    if letters and (
        _VARIABLE.search(re.sub(r"\\[A-Za-z]+", "", value))
        or (len(letters) == len(names) > 1 and not re.search(r"/|\^\{?-", text))
    ):
        return None
    unknown = [name for name in names if name not in _BY_NAME and name not in _MULTIPLES and name not in _DEGREES]
    if any(is_product(name) for name in unknown) or (unknown and not spaced):
        return None
    if not letters:
        return unit
    return dataclasses.replace(unit, ambiguous=True)


def _quotient(text: str) -> str:
    r"""`\frac{m}{s^2}` as `m/s^2`; another text unchanged."""
    above = closing(text, 5) if text.startswith(r"\frac{") else -1
    if above < 0 or text[above + 1 : above + 2] != "{" or closing(text, above + 1) != len(text) - 1:
        return text
    return f"{text[6:above]}/{text[above + 2 : -1]}"


def _is_filler(text: str) -> bool:
    return bool(text) and all(
        word in _FILLERS or word in ("square", "sq", "cubic", "cu") for word in re.findall(r"[^\s.]+", text)
    )


def _powers(text: str) -> tuple[Unit, list[str]] | None:
    """(the unit, the names in it); None if a word changes the value, or something is no part of a unit."""
    powers: dict[str, int] = {}
    factor, multiple, pi, things, names = Fraction(1), 1, False, set[str](), list[str]()
    sign, degree, position, last, pounds = 1, 1, 0, ("", 0), False

    def take(base: str, share: Fraction, power: int) -> None:
        nonlocal factor
        for part in base.split():
            name, exponent = re.fullmatch(r"([a-z]+)(-?\d*)", part).groups()  # pyright: ignore[reportOptionalMemberAccess]
            powers[name] = powers.get(name, 0) + power * int(exponent or 1)
        factor *= share**power

    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None or len(names) > 8:
            return None
        position = token.end()
        word = token[0]
        if word.strip() in ("", ".", "·", "-", "*", r"\cdot"):
            continue
        if word == "/" or word.lower() == "per":
            sign = -1
        elif token[1] is not None or word in ("squared", "cubed"):
            power = int(token[1]) if token[1] is not None else {"squared": 2, "cubed": 3}[word]
            if not last[0] or not -6 <= power <= 6:
                return None
            base, share = _BY_NAME[last[0]]
            take(base, share, last[1] * (power - 1))
            last = ("", 0)
        elif word in ("square", "sq", "cubic", "cu"):
            degree = 2 if word.startswith("s") else 3
        elif word in ("^{\\circ}", "^{\\circ }") or word in _DEGREES:
            names.append("°")
            scale = re.match(r"\s*(?:C|F|[Cc]elsius|[Ff]ahrenheit)\b", text[position:])
            if scale is None:
                take("radian", Fraction(1, 180), 1)
                pi = True
        elif word in _MULTIPLES:
            multiple *= _MULTIPLES[word]
            names.append(word)
        elif word == "in" and names:
            continue  # `5 hours in total`
        elif (found := word if word in _BY_NAME else word.lower() if len(word) > 1 else "") in _BY_NAME:
            take(*_BY_NAME[found], sign * degree)
            last, degree = (found, sign * degree), 1
            names.append(found)
            pounds = pounds or found in ("pound", "pounds")
        elif word.lower() in _CHANGING or len(word) == 1:
            return None
        elif word.lower() not in _FILLERS:
            things.add(re.sub(r"(?<=[^s])s$", "", word.lower()))
            names.append(word)
    nonzero = {name: power for name, power in powers.items() if power and name != "unit"}
    return Unit(nonzero, factor, multiple, pi, frozenset(things), pounds), names
