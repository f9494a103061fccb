"""Sums: as the work of a tool, and small ones without any.

Owns the operations, the ways to say them and the numbers in them. A result is always true; it is what the
tool said, not what a small model could work out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

from training import world
from training.chat import Example, Turn, ask, compact
from training.tool_families import Skill, Task, loosely, phrased, reading
from training.tool_forms import Argument, Kind, Tool, Value, argument_key, tool_name
from training.world import spin


@dataclass(frozen=True)
class Operation:
    """An operation on two numbers: its tools' names, how it is said, and how its result is called.

    `terms` are noun phrases, `orders` imperatives, `stories` whole questions; `{a}` and `{b}` are the
    numbers in the order the tool takes them.
    """

    trade: str
    deed: str
    names: str
    about: tuple[str, ...]
    terms: tuple[str, ...]
    orders: tuple[str, ...]
    stories: tuple[str, ...]
    sign: str
    word: str


ADD = Operation(
    "add",
    "add numbers",
    "add|sum|plus|addition|add numbers|calculate sum|sum numbers|add two numbers|compute sum|adder|"
    "get sum|math add|add values|add up|total",
    (
        "[Add|Adds] [two|the] [numbers|integers|values][ together| and return the sum|].",
        "[Sum|Sums] two numbers.",
        "[Returns|Compute|Calculates] the sum of [two numbers|a and b|its arguments].",
        "Addition[ of two numbers|].",
        "Add a [and|to] b.",
    ),
    (
        "{a}+{b}",
        "{a} + {b}",
        "{a}+{b}",
        "{a} plus {b}",
        "the sum of {a} and {b}",
        "the total of {a} and {b}",
        "{a} and {b} added [up|together]",
        "{a} added to {b}",
        "{a} and {b} together",
        "{a} increased by {b}",
    ),
    (
        "add {a} and {b}",
        "add {a} to {b}",
        "add {a} + {b}",
        "sum {a} and {b}",
        "add up {a} and {b}",
        "sum up {a} and {b}",
        "add [the numbers|these numbers:|] {a} and {b}",
        "add {a}, {b}",
        "put {a} and {b} together",
    ),
    (
        "I [paid|spent|sold|walked] {a} and then {b}. [How much is that|What is the total|What does that make]?",
        "There are {a} in one box and {b} in [the other|another]. How many [in all|are there together]?",
        "[We have|I have] {a} and get {b} more. How many [is that|are there] then?",
        "[Monday|Today] it was {a}, [Tuesday|yesterday] {b}. [And together|In total|Sum]?",
        "[The taxi|The room|My ticket] was {a} [euros|dollars|cents] and [lunch|the other one|hers] {b}[ euros| dollars| cents|]. [What did we pay|What do I owe|How much in all]?",
        "[What|How much] do {a} [euros|dollars|cents|points] and {b} [euros|dollars|cents|points] [make|come to|give]?",
        "[First|Once] {a} [pages|euros|steps], [next|later] {b} [pages|euros|steps]: what is the [total|sum]?",
        "[My rent|The table|One ticket|The first book|Her share|The repair|A kilo] [costs|is|was] {a}[ dollars| euros| cents|], [the chair|mine|the second|the other|the paint|his share] {b}[ dollars| euros| cents|]. [What is that|What is it together|How much is that together|Both together]?",
        "[The first|One] [invoice|receipt|part|item|box|letter] [has|is|weighs|costs] {a}[ grams| dollars| cents|] and [the second|the other|another] {b}[ grams| dollars| cents|]. [What is|Give me|Tell me] the [sum|total].",
        "{a} [cents|dollars|points|grams] and {b} [cents|dollars|points|grams][, what is the total|, what is the sum|: the sum|, how much together]?",
        "[Tell me|Get|Give me] the sum of [the amounts|the prices|the numbers|the two amounts|the values] {a} and {b}.",
        "[I owe|She owes|We owe] {a} to one and {b} to another. [What is the sum|How much is it in all]?",
    ),
    "+",
    "sum",
)
SUBTRACT = Operation(
    "subtract",
    "subtract numbers",
    "subtract|minus|difference|sub|subtraction|subtract numbers|calculate difference|take away|deduct",
    (
        "[Subtract|Subtracts] [one number from another|b from a|the second number from the first].",
        "[Returns|Compute] the difference of two numbers.",
        "Subtraction[ of two numbers|].",
    ),
    (
        "{a}-{b}",
        "{a} - {b}",
        "{a} minus {b}",
        "the difference [of|between] {a} and {b}",
        "{a} less {b}",
        "{a} reduced by {b}",
    ),
    (
        "subtract {b} from {a}",
        "take {b} from {a}",
        "take {b} away from {a}",
        "deduct {b} from {a}",
        "reduce {a} by {b}",
    ),
    (
        "[I had|We had|There were] {a} and {b} are gone. [How many are left|What is left]?",
        "From {a} I [give away|spend|lose] {b}. [What remains|How much is left]?",
    ),
    "-",
    "difference",
)
MULTIPLY = Operation(
    "multiply",
    "multiply numbers",
    "multiply|times|product|mul|multiplication|multiply numbers|calculate product|mult",
    (
        "[Multiply|Multiplies] [two numbers|a by b|the numbers].",
        "[Returns|Compute] the product of two numbers.",
        "Multiplication[ of two numbers|].",
    ),
    (
        "{a}*{b}",
        "{a} * {b}",
        "{a} x {b}",
        "{a} times {b}",
        "the product of {a} and {b}",
        "{a} multiplied by {b}",
    ),
    ("multiply {a} by {b}", "multiply {a} with {b}", "multiply {a} and {b}", "take {a} times {b}"),
    (
        "[One|A ticket|A box] costs {a}. [What do|How much are] {b} of them[ cost|]?",
        "{a} rows of {b} [chairs|trees|seats], how many [is that|are there]?",
    ),
    "*",
    "product",
)
DIVIDE = Operation(
    "divide",
    "divide numbers",
    "divide|division|div|quotient|divide numbers|calculate quotient|ratio",
    (
        "[Divide|Divides] [one number by another|a by b|two numbers].",
        "[Returns|Compute] the quotient of two numbers.",
        "Division[ of two numbers|].",
    ),
    ("{a}/{b}", "{a} / {b}", "{a} divided by {b}", "the quotient of {a} and {b}", "{a} over {b}"),
    ("divide {a} by {b}", "split {a} into {b} [parts|equal parts]", "split {a} by {b}"),
    ("{a} [apples|coins|sheets] are shared by {b} people. How many [for each|does each get]?",),
    "/",
    "quotient",
)
OPERATIONS = (ADD, SUBTRACT, MULTIPLY, DIVIDE)
OFTEN = (46, 20, 20, 14)

KEYS = (
    "a b|a b|a b|a b|a b|x y|x y|first second|num1 num2|number1 number2|value_1 value_2|left right|n1 n2|m n|p q|"
    "first_number second_number|number_a number_b|lhs rhs|op1 op2|v1 v2|arg1 arg2|i j|value1 value2"
).split("|")
CALCULATORS = (
    "calculator|calculate|calc|math|arithmetic|compute|do math|basic calculator|math operation"
)

ASKING = (
    "[What is|What's|what is|whats] {e}?",
    "[Compute|Calculate|Work out|Evaluate] {e}[ for me|, please| please|].",
    "How much is {e}?",
    "{e}?",
    "{e}",
    "{e} = ?",
    "{e}=",
    "[Tell me|Give me|Find|Get] {e}[.|, please.]",
    "[I need|I want to know|I'd like to know] {e}.",
    "[Can|Could] you [compute|work out|tell me|calculate] {e}?",
    "Please [compute|calculate|find] {e}.",
    "[Any idea|Do you know] what {e} [is|gives|makes][?|, please?]",
    "[Help me with|Solve|Do] {e} [for school|for me|now|please].",
    "I [have to|must|want to] [know|find out] what {e} is.",
    "[Short question|Hey|Sum]: {e}, [what is it|what comes out|and that is]?",
    "{e} [gives what|makes how much|is how much|is what]?",
    "[Do you mind|Would you mind] [working out|computing] {e}[ for me|]?",
    "[See|Check|Say] what {e} [is|gives][ so that I can go on|, I forgot|].",
    "[I am|I'm|I was] wondering [what {e} is|what {e} makes|how much {e} is|about {e}].",
    "[Would|Do] you mind [telling me|saying|checking] [what {e} is|how much {e} is][ please|]?",
    "[I need|We want|Please try] to figure out {e}[ for school| for class| for a bill|].",
    "[Can|Could|Will] you tell me [what {e} comes to|what comes of {e}|how much {e} is]?",
    "[In a hurry|Only this|Last one]: {e}, how much [is it|is that]?",
)
ASKING_WITH = (
    "[Compute|Calculate|Work out|Find|Get] {e} [with|using] [the {t} tool|{t}|the tool {t}]{tail}.",
    "[Use|Take|Call] [the {t} tool|{t}|the tool {t}] [for|to compute|to get|to work out] {e}{tail}.",
    "[What is|What's] {e}? [Use|Ask] [the {t} tool|{t}|the tool].",
    "[With|Using] [the {t} tool|{t}], [compute|what is] {e}?",
    "[Use|Call|Run] {t} [on|with] {a} and {b}{tail}.",
    "[Use|Call|Run] the {t} tool [on|with] {a} and {b}{tail}.",
    "{t} {a} {b}",
    "[Call|Run] {t}({a}, {b}){tail}.",
    "[Call|Use] {t} with {ka}={a} and {kb}={b}{tail}.",
    "[Run|Use] the tool {t}: {ka} {a}, {kb} {b}.",
)
ORDERING = (
    "[Please|Can you|] {o}{tail}[.|]",
    "{o}",
    "{o} [with|using] [the {t} tool|{t}]{tail}.",
    "[Use|Take] [the {t} tool|{t}] [to|and] {o}{tail}.",
    "[I want you to|I'd like you to] {o}{tail}.",
    "[Could you|Would you] {o}[ for me|]?",
    "[Do you mind to|Be so kind to|Be nice and] {o}[ now|, thanks|][.|?]",
    "[I have to|We need to|Help me] {o} [for my class|before lunch|now|].",
)
TAILS = (
    "",
    "",
    "",
    " and tell me[ the result| the answer|]",
    " and give me the [result|answer|number]",
    " and say what [comes out|it is|you get]",
    ", please",
    " for me",
)


def drawn(rng: Random) -> str:
    """A number as people write it in a sum."""
    text = world.digits(rng, *rng.choice(((1, 1), (1, 2), (2, 2), (2, 3), (3, 4), (1, 5))))
    if rng.random() < 0.1:
        return rng.choice(("0", f"-{text}", f"-{text}"))
    return text


def decimal(rng: Random) -> str:
    """A number with one or two decimals, the last not zero."""
    return f"{drawn(rng)}.{rng.choice(('', '', str(rng.randint(0, 9))))}{rng.randint(1, 9)}"


def worked(op: Operation, a: str, b: str) -> str:
    """The true result as a number without needless zeros, rounded to four decimals."""
    x, y = Decimal(a), Decimal(b)
    if op is DIVIDE:
        found = round(x / y, 4)
    else:
        found = x + y if op is ADD else x - y if op is SUBTRACT else x * y
    text = f"{found:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def numbers(rng: Random, op: Operation, *, whole: bool) -> tuple[str, str]:
    """Two numbers; divisions often have a whole result."""
    make = drawn if whole or rng.random() < 0.7 else decimal
    a, b = make(rng), drawn(rng)
    if op is DIVIDE:
        b = world.digits(rng, 1, 2)
        if rng.random() < 0.6 and "." not in a:
            a = str(int(a) * int(b))
    elif op is SUBTRACT and rng.random() < 0.7 and Decimal(b) > Decimal(a):
        a, b = b, a
    return a, b


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def wish(rng: Random, op: Operation, known: Mapping[str, str]) -> str:
    """How somebody asks for a sum; `known` has the numbers, the tool and its keys."""
    kind = rng.random()
    if kind < 0.17 and "-" not in known["a"] + known["b"]:
        text = rng.choice(op.stories)
    elif kind < 0.38:
        text = rng.choice(ORDERING).replace("{o}", rng.choice(op.orders))
    else:
        forms = ASKING if kind < 0.7 else ASKING_WITH
        text = rng.choice(forms).replace("{e}", rng.choice(op.terms))
    text = loosely(rng, spin(rng, text.replace("{tail}", rng.choice(TAILS))).strip())
    if rng.random() < 0.8:
        text = _capital(text)
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    return text


def clause(rng: Random, op: Operation, a: str, b: str, result: str) -> str:
    """The result in a sentence without its dot."""
    forms = (
        f"{a} {op.sign} {b} is {result}",
        f"{a} {op.sign} {b} is {result}",
        f"{a} {op.sign} {b} = {result}",
        f"The {op.word} of {a} and {b} is {result}",
        f"The [result|answer] is {result}",
        f"The {op.word} is {result}",
        f"[That makes|It is|That is] {result}",
    )
    return spin(rng, rng.choice(forms))


def answer(rng: Random, text: str) -> str:
    """A clause as a whole answer."""
    if rng.random() < 0.85 or not text[0].isupper():
        return f"{text}."
    return spin(rng, "[Sure|Here you are|Done]: ") + f"{text[0].lower()}{text[1:]}."


def reported(rng: Random, op: Operation, a: str, b: str, result: str) -> str:
    """What the tool says: mostly the bare number."""
    if rng.random() < 0.6:
        return result
    key = rng.choice(("result", "result", op.word, "value", "answer", "output"))
    found = {key: reading(result)}
    return rng.choice(
        (
            compact(found),
            json.dumps(found),
            compact({"a": reading(a), "b": reading(b), **found}),
            f"{a} {op.sign} {b} = {result}",
            f"{_capital(key)}: {result}",
            f"The {op.word} is {result}",
            f"The result is {result}.",
        )
    )


def skill(rng: Random, op: Operation) -> Skill:
    """A tool for one operation on two numbers."""
    kind: Kind = rng.choices(("integer", "number", "string"), (50, 46, 4))[0]
    ka, kb = rng.choice(KEYS).split()
    if "_" in ka and rng.random() < 0.2:
        ka, kb = (argument_key(rng, k.replace("_", " ")) for k in (ka, kb))
    first = phrased(rng, "[[The|] [first|1st] [number|value|operand]|A number|Left side]")
    second = phrased(rng, "[[The|] [second|2nd|other] [number|value|operand]|Another number]")
    arguments = (Argument(ka, kind, first), Argument(kb, kind, second))
    name = tool_name(rng, rng.choice(op.names.split("|")))
    tool = Tool(name, phrased(rng, rng.choice(op.about)), arguments)

    def task(r: Random) -> Task:
        a, b = numbers(r, op, whole=kind == "integer")
        known = {"a": a, "b": b, "t": name, "ka": ka, "kb": kb}
        given: dict[str, Value] = {ka: a, kb: b}
        if kind != "string":
            given = {ka: reading(a), kb: reading(b)}
        return _task(r, op, (a, b), wish(r, op, known), given)

    return Skill(op.trade, op.deed, tool, task)


def _task(
    rng: Random, op: Operation, pair: tuple[str, str], said: str, given: dict[str, Value]
) -> Task:
    result = worked(op, *pair)
    shown = f"{result}.0" if op is DIVIDE and "." not in result and rng.random() < 0.4 else result
    text = clause(rng, op, *pair, shown)
    term = spin(rng, rng.choice(op.terms[:4])).replace("{a}", pair[0]).replace("{b}", pair[1])
    return Task(said, given, reported(rng, op, *pair, shown), text, answer(rng, text), term)


def calculator(rng: Random) -> Skill:
    """One tool for all four operations: by the operation's name, or by an expression."""
    name = tool_name(rng, rng.choice(CALCULATORS.split("|")))
    if rng.random() < 0.5:
        key = rng.choice(("expression", "expr", "formula", "input", "query", "equation"))
        about = phrased(rng, "[The|An|] [arithmetic|] expression[, such as 2+3|]")
        tool = Tool(
            name,
            phrased(
                rng, "[[Calculate|Evaluate|Computes] [an expression|a formula].|A calculator.]"
            ),
            (Argument(key, "string", about),),
        )
        return Skill("calculator", "calculate", tool, lambda r: _expression(r, name, key))
    choices = rng.choice(("add|subtract|multiply|divide", "plus|minus|times|by", "+|-|*|/"))
    ka, kb = rng.choice(KEYS).split()
    ko = rng.choice(("operation", "op", "operator", "kind"))
    parts = [Argument(ka, "number"), Argument(kb, "number")]
    parts.insert(rng.choice((0, 2)), Argument(ko, "string", "", tuple(choices.split("|"))))
    tool = Tool(name, spin(rng, "[Calculate|Computes] with two numbers."), tuple(parts))

    def task(r: Random) -> Task:
        op = r.choices(OPERATIONS, OFTEN)[0]
        a, b = numbers(r, op, whole=False)
        known = {"a": a, "b": b, "t": name, "ka": ka, "kb": kb}
        word = choices.split("|")[OPERATIONS.index(op)]
        given: dict[str, Value] = {ko: word, ka: reading(a), kb: reading(b)}
        text = wish(r, op, known)
        while not any(w in text for w in _signs(op)):
            text = wish(r, op, known)
        return _task(r, op, (a, b), text, given)

    return Skill("calculator", "calculate", tool, task)


def _signs(op: Operation) -> tuple[str, ...]:
    """Words of which one must stand in a wish that does not call a tool of the operation's name."""
    return {
        "add": ("+", "plus", "sum", "add", "total", "together"),
        "subtract": ("-", "minus", "difference", "subtract", "take", "less"),
        "multiply": ("*", " x ", "times", "product", "multipl"),
        "divide": ("/", "divide", "quotient", "over", "split"),
    }[op.trade]


def _expression(rng: Random, name: str, key: str) -> Task:
    op = rng.choices(OPERATIONS, OFTEN)[0]
    a, b = numbers(rng, op, whole=False)
    form = rng.choice((f"{a}{op.sign}{b}", f"{a} {op.sign} {b}"))
    frames = ASKING + tuple(f for f in ASKING_WITH if "{e}" in f)
    text = spin(rng, rng.choice(frames).replace("{tail}", rng.choice(TAILS)))
    said = text.replace("{e}", form).replace("{t}", name)
    return replace(_task(rng, op, (a, b), said, {key: form}), term=form)


def small_sum(rng: Random) -> Example:
    """Sums and differences of numbers below a hundred, without a tool."""
    turns: list[Turn] = []
    for _ in range(rng.choice((1, 2, 4, 8, 12))):
        question, result = small_question(rng)
        turns += [*ask("sums", question, result).turns]
    return Example("sums", tuple(turns))


def small_question(rng: Random) -> tuple[str, str]:
    """A question for a small sum and its true answer."""
    op = rng.choice((ADD, ADD, SUBTRACT))
    top = rng.choice((9, 20, 99))
    a, b = rng.randint(0, top), rng.randint(0, top)
    if op is SUBTRACT and a < b:
        a, b = b, a
    text = spin(rng, rng.choice(ASKING).replace("{e}", rng.choice(op.terms[:4])))
    text = text.replace("{a}", str(a)).replace("{b}", str(b))
    result = worked(op, str(a), str(b))
    return text, rng.choice((result, f"{a} {op.sign} {b} is {result}.", f"{result}."))
