"""Letters of options and exact texts, and wrong ones."""

import string
from random import Random

from scripts.red_team_tools.expressions import Wrong

NAMES = ("Paris", "the heart", "H2O", "Bob Dylan", "7 apples", "Café au lait", "Mount Everest", "true", "1984", "x + 1")
TEMPLATES = """
{w}|({w})|{w}.|{w})|Option {w}|{v} or {w}|{w} or {v}|either {v} or {w}|{v} and {w}|{v}, {w}|{v}{w}|({v})({w})
{v}/{w}|not {v}|not ({v})|anything but {v}|all except {v}|{v} is wrong|{v} is incorrect, so {w}|{w}, not {v}
neither {v} nor {w}|none|none of the above|all of the above|{v}{w}{v}|\\text{{{w}}}|\\boxed{{{w}}}
\\boxed{{{v}}} or \\boxed{{{w}}}|{v} oder {w}|{v} ou {w}|{v}\u6216{w}|\u4e0d\u662f{v}|\u7b54\u6848\u662f{w}
{v} \u0438\u043b\u0438 {w}|\u043d\u0435 {v}|nicht {v}|pas {v}|no es {v}|I first took {v}, but the answer is {w}
The answer is {w}|the answer is not {v}|maybe {v}, maybe {w}|\uff37\uff48\uff4f|{v}? no, {w}|~~{v}~~ {w}
{w} (and not {v})|{lower_w}|the answer is {v} or {w}|{v} or {w}: {v}|{v} is false|I exclude {v}|it can't be {v}
it isn't {v}|{v} and {w} are both right|A, B, C or D|ABCD|{text_w}|{v}) {text_w}|{w}) {text_v}
"""
ALL_TEMPLATES = [template for line in TEMPLATES.strip().splitlines() for template in line.split("|")]
OPTIONS = ("three", "four", "a triangle", "Berlin", "Ada Lovelace", "C. elegans", "12", "15", "none of these", "x^2")


def wrong_choice(draw: Random) -> tuple[Wrong, list[str]]:
    """Returns the letter of an option, a text that does not name it, and the options."""
    options = draw.sample(OPTIONS, draw.choice((4, 5, 10)))
    letters = string.ascii_uppercase[: len(options)]
    right, other = draw.sample(letters, 2)
    template = draw.choice([one for one in ALL_TEMPLATES if one != "{v} or {w}: {v}"])
    text_of = dict(zip(letters, options))
    if right == "I" and template.startswith("I "):  # a pronoun, or the option that is claimed
        template = "{w}"
    if template == "none of the above" or ("none" in template and text_of[right].startswith("none")):
        template = "{w}"
    answer = template.format(v=right, w=other, lower_w=other.lower(), text_v=text_of[right], text_w=text_of[other])
    return Wrong(
        right, draw.choice((f"({right})", f"{right}.", rf"\text{{{right}}}", right)), answer, template
    ), options


def wrong_text(draw: Random) -> Wrong:
    """Returns a text and another one, that differs in letters, words or signs."""
    text = draw.choice(NAMES)
    place = draw.randrange(len(text))
    answers = [
        ("a letter", text[:place] + draw.choice("qzj") + text[place + 1 :]),
        ("less", text[:-1]),
        ("more", f"{text}s"),
        ("not", f"not {text}"),
        ("hedge", f"{text} or {draw.choice(NAMES)}x"),
        ("words around", f"I do not think that it is {text}"),
        ("twice", f"{text} {text}"),
        ("reversed", text[::-1] + "."),
        ("another", f"{draw.choice(NAMES)}!?"),
    ]
    how, answer = draw.choice(answers)
    if answer.casefold() == text.casefold():
        return wrong_text(draw)
    return Wrong(text, text.upper(), answer, how)
