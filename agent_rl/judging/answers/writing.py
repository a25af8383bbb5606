"""One spelling for what is written in many ways. Nothing is evaluated here.

The spelling is LaTeX with these choices: `\\frac`, `\\cdot`, `\\text{…}` for every kind of upright text, `-` for every
minus, braces around each exponent and subscript, no spacing commands, no `\\left` and `\\right`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

Same = Callable[[str, str], bool]
"""Whether two answers, as they are written, are the same."""


def listed(words: str) -> list[str]:
    """The words of `words`."""
    return words.split()


_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣ", "0123456789+-=()nix", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₓₙ", "0123456789+-=()aexn", strict=True))
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψωϕϵΓΔΘΛΞΠΣΦΨΩ",
        listed(
            "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi "
            "psi omega phi epsilon Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
        ),
        strict=True,
    )
)
_SIGNS = {
    **dict.fromkeys("−–—‒‐‑﹣－⁃", "-"),
    **dict.fromkeys("×✕✖⨯", r"\cdot "),
    **dict.fromkeys("·⋅∙•∗", r"\cdot "),
    **dict.fromkeys("÷∕⁄／", "/"),
    **dict.fromkeys("\u2009\u202f\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u200a\u3000\t\n\r", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u2061\u2062\u2063\u00ad\ufe0f", ""),
    **dict.fromkeys("‘’′ʹ", "'"),
    **dict.fromkeys("“”″", '"'),
    **{"∞": r"\infty ", "∅": r"\emptyset ", "⌀": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "°": r"^{\circ}"},
    **{"º": r"^{\circ}", "≤": r"\leq ", "⩽": r"\leq ", "≦": r"\leq ", "≥": r"\geq ", "⩾": r"\geq ", "≧": r"\geq "},
    **{"≠": r"\neq ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∨": r"\lor ", "∧": r"\land "},
    **{"ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}"},
    **{"⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ", "∠": r"\angle ", "△": r"\triangle "},
    **{
        "…": "...",
        "⋯": "...",
        "，": ", ",
        "；": "; ",
        "：": ":",
        "∶": ":",
        "％": "%",
        "∣": "|",
        "∧": r"\land ",
        "\\\\": r"\\",
    },
}
_ALIKE = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"), "frac"),
    **dict.fromkeys(("times", "ast", "bullet"), "cdot"),
    **dict.fromkeys(("le", "leqslant", "leqq"), "leq"),
    **dict.fromkeys(("ge", "geqslant", "geqq"), "geq"),
    **dict.fromkeys(("varnothing", "O"), "emptyset"),
    **dict.fromkeys(("dbinom", "tbinom"), "binom"),
    **dict.fromkeys(("textrm", "textbf", "textit", "textnormal", "textsf", "texttt", "textup", "mbox", "hbox"), "text"),
    **dict.fromkeys(("mathrm", "mathbf", "mathit", "mathsf", "mathtt", "boldsymbol", "bm", "emph", "unit"), "text"),
    **{"ne": "neq", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]", "lt": "<", "gt": ">", "div": "/"},
    **{"lvert": "|", "rvert": "|", "vert": "|", "varepsilon": "epsilon", "varphi": "phi", "degree": "^{\\circ}"},
    **{"vee": "lor", "wedge": "land", "mid": "|", "union": "cup", "ldots": "...", "dots": "...", "cdots": "..."},
    **{"operatorname": "text", "pounds": "£", "euro": "€", "textdollar": "$", "prime": "'"},
    **{"R": "mathbb{R}", "reals": "mathbb{R}", "textdegree": "^{\\circ}", "newline": " ", "colon": ":"},
}
_DROPPED = frozenset(
    listed(
        "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle limits nolimits rm bf it "
        "mathopen mathclose mathord middle scriptstyle boldmath normalfont large Large"
    )
)
_SPACES = frozenset(listed("quad qquad thinspace enspace medspace thickspace hspace nobreakspace"))
_NAMED = listed("sqrt pi infty alpha beta gamma delta theta lambda mu sigma omega phi")
_FUNCTIONS = listed("sin cos tan cot sec csc ln log exp arcsin arccos arctan sinh cosh tanh")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s*")
_PLAIN_NAME = re.compile(
    rf"(?<![\\A-Za-z])({'|'.join(_NAMED)}|(?:{'|'.join(_FUNCTIONS)})"
    rf"(?=\s*(?:[\\({{^_|]|\.?\d|[A-Za-z](?![A-Za-z])|(?:{'|'.join(_NAMED + _FUNCTIONS)})(?![A-Za-z]))))(?![A-Za-z])"
)
"""A function has an argument: `sec x`. `30 sec` and `8 log` are a time and a thing."""
_INLINE = re.compile(
    r"(?<![\\\w$)}])\$(?!\s)([^$]+)(?<![\s\\])\$(?![\d$])|(?<![\w)}\]*])\*\*(?=[^\s*])([^*]+)(?<!\s)\*\*(?![\w({\[*])"
)
"""`$72$` or `**72**` within a text; `$5 or $6` are two amounts, and `2**3**2` is a power."""
_INFINITY = re.compile(r"(?:(negative|minus)|positive|plus)\s+(?=infinity)", re.IGNORECASE)
_MARKDOWN = re.compile(r"(\*\*|__|\*|_|`+)(?=\S)(.*\S)\1")
_DELIMITED = re.compile(r"\$\$(.*)\$\$|\$([^$]*)\$|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_CHOSEN = re.compile(
    r"(?<![\w}^.])(?:\{\})?[_^]\{(?P<of>\d{1,4})\}\s*(?P<kind>[CP])\s*_\{(?P<some>\d{1,4})\}"
    r"|(?<![\w.{])(?P<of_>\d{1,4})\s?(?P<kind_>[CP]|choose)\s?(?P<some_>\d{1,4})(?![\w.{])"
)
"""`_5C_2`, `5C2`, `5 choose 2`."""
_PERHAPS_CHOSEN = re.compile(
    r"(?<![A-Za-z\\_])(?P<kind>C|P|nCr|nPr|comb|perm|binom|binomial)\s?\((?P<of>\d{1,4}),\s*(?P<some>\d{1,4})\)"
    r"|(?<![A-Za-z\\])(?P<kind_>[CA])(?:_\{(?P<of_>\d{1,4})\}\^\{(?P<some_>\d{1,4})\})"
)
"""`C(5,2)` may be a point, and `C_5^2` a square."""
_TEXT = re.compile(r"\\text\{((?:[^{}]|\{[^{}]*\})*)\}")


def unwrapped(text: str) -> str:
    r"""`text` without what only sets it off: spaces, `$…$` or `\(…\)`, Markdown, a full stop behind."""
    before = None
    text = text.strip()
    while before != text:
        before = text
        if (match := _MARKDOWN.fullmatch(text)) and match[1] not in match[2]:
            text = match[2].strip()
        if match := _DELIMITED.fullmatch(text):
            text = next(part for part in match.groups() if part is not None).strip()
        if text.endswith((".", ",", ";")) and not text.endswith(("...", r"\,", r"\;")):
            text = text[:-1].rstrip()
    return text


def written(text: str) -> str:
    """`text` in the one spelling that this module describes."""
    text = _INLINE.sub(lambda match: match[1] or match[2], unwrapped(_characters(text)))
    text = text.replace(r"\$", "$").replace(r"\%", "%").replace(r"\#", "#").replace(r"\&", "&").replace("{:}", ":")
    text = _commands(text)
    text = _ascii(text)
    text = _CHOSEN.sub(_one_selection, _arguments(text))
    text = re.sub(r"^<([^<>=]*,[^<>=]*)>$", r"\\langle \1\\rangle ", text)
    return unwrapped(_without_outer_braces(re.sub(r" {2,}", " ", text).strip()))


def selections(text: str) -> str:
    r"""`text` with `\\binom` for `C(5,2)` and `C_5^2`, which in a gold answer may be a point and a square."""
    return _PERHAPS_CHOSEN.sub(_one_selection, text)


def _one_selection(match: re.Match[str]) -> str:
    kind, of, some = (match[name] or match[f"{name}_"] for name in ("kind", "of", "some"))
    orders = rf"\cdot {some}!" if kind in ("P", "A", "nPr", "perm") else ""
    return rf"\binom{{{of}}}{{{some}}}{orders}"


def plain_text(text: str) -> str:
    r"""`text` with the content of each `\text{…}` in its place."""
    before = None
    while before != text:
        before, text = text, _TEXT.sub(r" \1 ", text)
    return re.sub(r"\s+", " ", text).strip()


def closing(text: str, start: int) -> int:
    """The position of the bracket that closes the one at `start`; -1 if none does."""
    depth = 0
    for position in range(start, len(text)):
        if text[position] in "({[":
            depth += 1
        elif text[position] in ")}]":
            depth -= 1
            if depth == 0:
                return position
    return -1


def nesting(text: str) -> int:
    """How deep brackets lie in each other; -1 if one is not closed by one of its kind, or closed and not open."""
    deepest = 0
    for pair in ("()", "{}", "[]"):
        depth = 0
        for character in text:
            depth += {pair[0]: 1, pair[1]: -1}.get(character, 0)
            deepest = max(deepest, depth)
            if depth < 0:
                return -1
        if depth:
            return -1
    return deepest


def _characters(text: str) -> str:
    """Unicode's signs in LaTeX's spelling; digits and letters of full width become plain ones."""
    text = re.sub("[\ue000-\uf8ff]", "", text)
    text = re.sub(r"([\d)]?)\s*([\u00bc-\u00be\u2150-\u215e\u2189])", _vulgar_fraction, text)
    text = _runs(_runs(text, _SUPERSCRIPTS, "^"), _SUBSCRIPTS, "_")
    text = re.sub(r"([√∛∜])\s*(\([^()]*\)|\d+(?:\.\d+)?|[A-Za-zα-ω]|\{[^{}]*\})", _root, text)
    text = "".join(f"\\{_GREEK[c]} " if c in _GREEK else _SIGNS.get(c, c) for c in text)
    return "".join(unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uff5e" else c for c in text)


def _vulgar_fraction(match: re.Match[str]) -> str:
    above, below = unicodedata.normalize("NFKC", match[2]).split("\u2044")
    return f"{match[1]} \\frac{{{above}}}{{{below}}}"


def _runs(text: str, signs: dict[str, str], mark: str) -> str:
    return re.sub(f"[{''.join(signs)}]+", lambda run: f"{mark}{{{''.join(signs[c] for c in run[0])}}}", text)


def _root(match: re.Match[str]) -> str:
    inside = match[2][1:-1] if match[2][0] in "({" else match[2]
    degree = {"√": "", "∛": "[3]", "∜": "[4]"}[match[1]]
    return rf"\sqrt{degree}{{{inside}}}"


def _commands(text: str) -> str:
    """Commands that mean the same have one name; those that only set spaces and sizes are gone."""
    if r"\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)  # written with JSON's escapes
    text = re.sub(r"\\begin\{array\}\{[^{}]*\}", r"\\begin{array}", text)
    text = re.sub(r"\\\\\s*\[\s*-?[\d.]+\s*(?:ex|em|pt|mm|cm|in|px)\s*\]", r"\\\\ ", text)  # a row's distance
    text = re.sub(r"\\(?:mathrm|text|textrm|operatorname)\s*\{\s*([ie])\s*\}", r"\1", text)
    text = re.sub(
        r"(?<=[\d)}])\s*\^\s*(?:\{\s*)?(?:\\(?:text|mathrm)\s*\{\s*o\s*\}|o(?![A-Za-z]))(?:\s*\})?", r"^{\\circ}", text
    )
    text = re.sub(r"\\(?:h|v)space\*?\{[^{}]*\}|\\(?:h|v)?phantom\{[^{}]*\}|\\tag\*?\{[^{}]*\}", " ", text)
    text = re.sub(r"\\(?:text)?color\s*\{\w+\}|\\!|\\+\s*$", "", text)
    text = re.sub(
        r"\\(?:mathbf|mathit|boldsymbol|bm|underline|mathsf|mathcal|mathscr|textcolor)\s*\{([A-Za-z]|[^{}A-Za-z]*)\}",
        r"\1",
        text,
    )
    text = re.sub(r"\\(?:hat|vec)\s*\{\s*(?:\\([ij])math|([ijk]))\s*\}", r"\1\2", text)
    text = re.sub(r"\{,\}|\\,(?=\d{3}(?!\d))", "\ue000", text)
    text = re.sub(r"(?<!\\)\\[,;:> ]|(?<!\\)~", " ", text)
    text = _COMMAND.sub(_one_command, text)
    text = re.sub(r"\\text\s*\*?\s*(?=\{)", r"\\text", text)
    text = re.sub(r"\{\\text\s+([^{}]*)\}", r"\\text{\1}", text)
    text = re.sub(r"(?<=\d)\s*\^?\s*\{?\s*\\text\{\s*(?:st|nd|rd|th)\s*\}\s*\}?", "", text)
    text = re.sub(r"\\text\{([^A-Za-z{}]*)\}", r"\1", text)
    text = re.sub(r"\\frac\{\\text\{([^{}]*)\}\}\{\\text\{([^{}]*)\}\}", r"\\text{\1/\2}", text)
    return text


def _one_command(match: re.Match[str]) -> str:
    name = match[1]
    if name in _DROPPED:
        return ""
    if name in _SPACES:
        return " "
    name = _ALIKE.get(name, name)
    if not name[0].isalpha() and name not in ("{", "}"):
        return name
    following = match.string[match.end() : match.end() + 1]
    return f"\\{name}" + (" " if following.isalpha() or following.isdigit() or match[0][-1] == " " else "")


def _ascii(text: str) -> str:
    """Plain text's operators in LaTeX's spelling: `**`, `sqrt(2)`, `pi`, `oo`, `<=`, `1.6e-19`, `1.6 x 10^-19`."""
    text = text.replace("**", "^").replace("<=", r"\leq ").replace("=<", r"\leq ").replace(">=", r"\geq ")
    text = re.sub(r"\\not\s*=|=/=|(?<![\d)])!=", r"\\neq ", text)
    text = re.sub(r"(?<=[\d)])!=(?=\s*\d)", "! =", text)
    text = re.sub(r"\+\s*/\s*-|\bplus or minus\b", r"\\pm ", text)
    text = text.replace("~=", r"\approx ")
    text = _INFINITY.sub(lambda match: "-" if match[1] else "", text)
    text = re.sub(r"(?<![\\A-Za-z])(?:oo|inf|infinity|Infinity)(?![A-Za-z])", r"\\infty ", text)
    text = re.sub(r"\+\s*(?=\\infty)", "", text)
    text = re.sub(r"(?<=\d)\s*[xX*]\s*(?=10\s*\^)", r"\\cdot ", text)
    text = re.sub(r"(?<![A-Za-z\d_])(\d+(?:\.\d*)?|\.\d+)[eE]([-+]?\d+)(?![A-Za-z\d])", r"\1\\cdot 10^{\2}", text)
    text = re.sub(r"(?<![A-Za-z\\])([a-z0-9})])log(?=[a-z]\b)", r"\1 log ", text)  # `nlogn`
    text = _PLAIN_NAME.sub(lambda match: rf"\{match[1]} ", text)
    text = re.sub(r"\\sqrt\s*\(", r"\\sqrt(", text)
    while (start := text.find(r"\sqrt(")) >= 0 and (end := closing(text, start + 5)) > 0:
        text = f"{text[:start]}\\sqrt{{{text[start + 6 : end]}}}{text[end + 1 :]}"
    return text.replace("*", r"\cdot ")


def _arguments(text: str) -> str:
    r"""Braces around exponents, subscripts and the arguments of `\frac` and `\sqrt`."""
    text = re.sub(r"([\^_])\s*\(", r"\1(", text)
    for mark in "^_":
        while (start := text.find(f"{mark}(")) >= 0 and (end := closing(text, start + 1)) > 0:
            text = f"{text[:start]}{mark}{{{text[start + 2 : end]}}}{text[end + 1 :]}"
    text = re.sub(r"\{([^{}]*)\\choose(?![a-z])([^{}]*)\}", r"\\binom{\1}{\2}", text)
    text = re.sub(r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*(\d|[A-Za-z])", r"\\sqrt{\1}", text)
    text = re.sub(r"\\frac\s*(\\(?!frac|sqrt|text)[A-Za-z]+)\s*", r"\\frac{\1}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*(\\(?!frac|sqrt|text)[A-Za-z]+)\b", r"\\frac\1{\2}", text)
    text = re.sub(r"\\frac\s*(\d|[A-Za-z])\s*(\\(?!frac|sqrt|text)[A-Za-z]+)\b", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\d|[A-Za-z])\s*(\d|[A-Za-z])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\d|[A-Za-z])\s*\{", r"\\frac{\1}{", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*(\d|[A-Za-z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*\{", r"\\frac\1{", text)
    text = re.sub(r"\^\s*((?:[-+]?\\frac\{[^{}]*\}|[-+]?\\sqrt)\{[^{}]*\})", r"^{\1}", text)
    text = re.sub(r"\^\s*([-+]?\d+|\\[A-Za-z]+|[-+]?[A-Za-z])", r"^{\1}", text)
    return re.sub(r"_\s*(\d+|[A-Za-z])", r"_{\1}", text)


def _without_outer_braces(text: str) -> str:
    while text.startswith("{") and closing(text, 0) == len(text) - 1 and len(text) > 2:
        text = text[1:-1].strip()
    return text
