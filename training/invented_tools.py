"""Tools that nobody has: look-ups and deeds put together from word lists and invented words.

Owns the lists. The names of these tools hardly ever come twice, so that what is learned is to read them: the
wish shares words with the name or the description of the tool that it needs.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from random import Random

from training import world
from training.chat import compact
from training.tool_families import Skill, Task, framed, loosely, phrased, reading, typed
from training.tool_forms import Argument, Kind, Tool, Value, argument_key, tool_name
from training.tool_values import phrase, quantity, title
from training.world import spin

THINGS: dict[str, str] = {
    "id": "account contract device sensor machine server policy claim session booking payment invoice job "
    "warranty voucher licence task report batch backup camera elevator pump meter locker permit badge case "
    "loan deposit shipment container pallet lease subscription survey alert",
    "name": "playlist album folder project channel team garden recipe museum school hotel theater river lake "
    "mountain castle bridge island village park stadium library farm ship train dog cat horse plant player "
    "band club course department printer room building station",
    "person": "patient student teacher driver guest tenant member author doctor employee agent singer chef "
    "client visitor nurse pilot artist",
    "title": "book movie song article game podcast poster lecture exhibition concert magazine photo",
    "code": "vehicle flight plane gate seat zone shelf part engine tank valve cable router drone robot",
}
KIND_OF = {thing: kind for kind, things in THINGS.items() for thing in things.split()}
ABOUT: dict[str, str] = {
    "word": "status state color category type level mode region grade group topic material shape brand",
    "person": "owner manager author contact leader inspector designer teacher sponsor sender buyer",
    "number": "size weight height length age score rank price cost balance capacity speed temperature pressure "
    "distance population count voltage depth width volume fee rating discount mileage budget",
    "date": "deadline birthday opening due_date expiry start_date release renewal founding last_visit",
    "place": "location address city origin destination storage home",
    "code": "password serial_number version pin barcode license_plate model reference slot platform terminal extension",
    "time": "departure arrival closing_time check_in pickup_time bedtime",
}
KIND_ABOUT = {about: kind for kind, abouts in ABOUT.items() for about in abouts.split()}
STATES = (
    "active|inactive|open|closed|pending|approved|rejected|ready|broken|paused|full|empty|locked|online|offline|"
    "new|old|green|red|blue|yellow|north|south|east|west|gold|silver|premium|basic|wood|steel|round|square|"
    "finished|failed|late|early|high|low|medium|sold|free|reserved|archived|draft|hidden|public|private"
).split("|")
DEEDS = (
    "archive lock unlock rename pause resume delete remove copy move share publish restart approve reject "
    "cancel renew extend assign clean inspect repair paint rotate resize compress upload download export "
    "import print scan open close activate deactivate reserve release hide show mute invite block unblock "
    "rate review tag label pin follow feed water charge start stop test update verify sign weigh measure "
    "load empty order check freeze heat cool sort merge split reset enable disable register suspend promote "
    "insure rent lend donate recycle polish fold wrap deliver collect"
).split()
OTHER_NAMES: dict[str, str] = {
    "status": "state",
    "price": "cost",
    "owner": "holder",
    "location": "place",
    "city": "town",
    "color": "colour",
    "size": "dimensions",
    "deadline": "due date",
    "manager": "boss",
    "weight": "mass",
}


def identifier(kind: str) -> Callable[[Random], str]:
    """What one calls a thing of that kind."""
    made: dict[str, Callable[[Random], str]] = {
        "id": lambda r: r.choice((world.digits(r, 1, 6), world.order_number(r), world.code(r))),
        "name": lambda r: r.choice(
            (title(r), world.word(r).capitalize(), world.firm(r), world.word(r))
        ),
        "person": world.person,
        "title": title,
        "code": lambda r: r.choice(
            (
                world.code(r),
                f"{r.choice(string.ascii_uppercase)}{r.randint(1, 99)}",
                str(r.randint(1, 400)),
            )
        ),
    }
    return made[kind]


def outcome(kind: str) -> Callable[[Random], str]:
    """What a look-up of that kind finds."""
    made: dict[str, Callable[[Random], str]] = {
        "word": lambda r: r.choice(STATES) if r.random() < 0.85 else world.word(r),
        "person": world.person,
        "number": quantity,
        "date": world.date,
        "place": lambda r: r.choice((world.city(r), world.street(r), world.firm(r))),
        "code": world.code,
        "time": world.time_of_day,
    }
    return made[kind]


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def _thing(rng: Random) -> tuple[str, str]:
    if rng.random() < 0.08:
        return world.word(rng), rng.choice(("id", "name", "code"))
    thing = rng.choice(list(KIND_OF))
    return thing, KIND_OF[thing]


def _key(rng: Random, thing: str, kind: str) -> str:
    tails: dict[str, tuple[str, ...]] = {
        "id": (f"{thing} id", f"{thing} id", f"{thing} number", thing, "id", "number"),
        "code": (f"{thing} code", thing, f"{thing} id", "code", "id"),
        "title": ("title", thing, f"{thing} title", "name"),
    }
    usual = (f"{thing} name", thing, "name", f"{thing} id")
    return argument_key(rng, rng.choice(tails.get(kind, usual)))


LOOKING = (
    "[What|Which] {a} does {the}{t} {v} [have|show|carry] [now|today|at the moment|]?",
    "[What|Which] {a} {the}{t} {v} [has|shows] is what I [need|ask|want to know].",
    "I [forgot|lost|do not remember] [which|what] {a} {the}{t} {v} has.",
    "{the}{t} {v} [must have|should have|has] [a|some] {a}[, which is it|, what is it]?",
    "[What is|What's|whats] the {a} of {the}{t} {v}?",
    "[Tell me|Give me|I need] the {a} of {the}{t} {v}[.|, please.]",
    "[Look up|Find|Get|Check|Fetch] the {a} [of|for] {the}{t} {v}[.| for me.| please.]",
    "[Can|Could] you [look up|find|tell me|check] the {a} [of|for] {the}{t} {v}?",
    "{a} of {t} {v}[?|, please]",
    "[I'd like to know|Please tell me] [which|what] {a} {the}{t} {v} has.",
    "[Which|What] {a} does {the}{t} {v} have?",
    "{t} {v}: [what is the|which] {a}?",
    "[Use|Call] {n} [for|on|with] {v}[ and tell me the {a}| and tell me|].",
    "[Use|Ask] the {n} tool [for|about] {the}{t} {v}[.| please.]",
    "[About|On] {t} {v}: [I need|tell me] the {a}.",
    "[I was wondering|Any idea|Do you happen to know|Can you say] [what|which] {a} {the}{t} {v} has[?|.]",
    "[I am trying to find|We must find|I have to find|Help me find] the {a} of {the}{t} {v}[ today| for a report|, then I can go on|].",
    "[The|My|Our] {t} [is|is called|is number] {v}. [What is its {a}?|Which {a} does it have?|I need the {a}.|And the {a}?]",
    "[Would you be so kind to|Would you|Do] [look up|check|see] [what|which] {a} {the}{t} {v} [has|shows] [for me|please|now|]?",
    "[For|With] {t} {v}, [what|which] {a} [do you have|is there|do you see]?",
    "[See|Look] [what|which] {a} {the}{t} {v} [has|got] [before I leave|before we start|so that I can tell him].",
    "[Has|Is there for] {the}{t} {v} [a|any] {a} [at all|listed|]?",
)
QUESTIONS: dict[str, str] = {
    "weight": "How heavy is {x}?",
    "price": "How much is {x}?|What does {x} cost?|How expensive is {x}?",
    "cost": "How much does {x} cost?",
    "owner": "Who owns {x}?|Whose is {x}?|Who does {x} belong to?|To whom does {x} belong?|In whose name is {x}?",
    "author": "Who wrote {x}?|By whom is {x}?",
    "manager": "Who [manages|runs|is in charge of] {x}?",
    "leader": "Who leads {x}?",
    "inspector": "Who [inspected|checked] {x}?",
    "designer": "Who [designed|drew] {x}?",
    "teacher": "Who teaches {x}?",
    "sender": "Who sent {x}?|Where does {x} come from?",
    "buyer": "Who bought {x}?",
    "contact": "Who[ can|] [do I ask|can I ask|do I call] about {x}?",
    "height": "How [tall|high] is {x}?",
    "length": "How long is {x}?",
    "width": "How wide is {x}?",
    "depth": "How deep is {x}?",
    "age": "How old is {x}?",
    "speed": "How fast is {x}?",
    "capacity": "How much [fits into|does|can] {x}[ hold|]?|How many [guests|visitors|seats] [has|can we have in|go into] {x}?|How many can {x} take?",
    "temperature": "How [warm|hot|cold] is {x}?",
    "distance": "How far [away|] is {x}?",
    "population": "How many people live in {x}?",
    "count": "How many are in {x}?|How many does {x} have?",
    "rating": "How good is {x}?|How is {x} rated?",
    "balance": "How much money is on {x}?|What is left on {x}?",
    "fee": "What must I pay for {x}?",
    "size": "How [big|large] is {x}?",
    "status": "How is {x} doing?|[What|How] about {x}, what is its state?|What is going on with {x}?",
    "color": "What color is {x}?|Which colour does {x} have?",
    "deadline": "[When|By when] [is|must] {x} [due|be done]?",
    "birthday": "When was {x} born?",
    "expiry": "When does {x} expire?|Until when is {x} valid?|How long is {x} still good?",
    "release": "When did {x} come out?|When was {x} released?",
    "opening": "When does {x} open?|Since when is {x} open?",
    "renewal": "When [is|must] {x} [renewed|be renewed]?",
    "start_date": "When does {x} [start|begin]?",
    "due_date": "When is {x} due?",
    "location": "Where is {x}?|Where [do|can] I find {x}?",
    "address": "Where does {x} live?|Where do I send [mail for|letters to] {x}?",
    "origin": "Where is {x} from?|Where does {x} come from?",
    "destination": "Where does {x} go?|Where is {x} headed?",
    "storage": "Where is {x} kept?|Where do we keep {x}?",
    "city": "Which town is {x} in?|In which city is {x}?",
    "home": "Where does {x} live?",
    "departure": "When does {x} [leave|depart]?",
    "arrival": "When does {x} [arrive|get in|come]?",
    "closing_time": "When does {x} close?|How long is {x} open?",
    "pickup_time": "When can I [fetch|pick up|collect] {x}?",
    "material": "What is {x} made of?",
    "brand": "Who made {x}?|Which make is {x}?",
}
"""What people ask who do not name what they want to know."""
FOUND = (
    *("The {a} of {t} {v} is {r}",) * 9,
    "The {a} is {r}",
    "{t} {v} has the {a} {r}",
    "It is {r}",
    "{v}: {r}",
)
"""Mostly one form: where many would do, a small model mixes them and loses what it was about to copy."""


def _written(rng: Random, text: str, known: dict[str, str]) -> str:
    text = loosely(rng, framed(rng, spin(rng, text)))
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    return text[:1].upper() + text[1:] if rng.random() < 0.8 else text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _quoted(rng: Random, value: str, kind: str) -> str:
    if kind == "title" or (" " in value and kind == "name"):
        return f'"{value}"' if rng.random() < 0.7 else value
    return value


def _result(rng: Random, about: str, result: str, known: dict[str, str]) -> str:
    if rng.random() < 0.4:
        return result
    if rng.random() < 0.35:
        form = rng.choice(
            ("The {a} of {t} {v} is {r}.", "{a}: {r}", "{v}: {r}", "{t} {v}, {a} {r}")
        )
        return _sentence(_filled(form, {**known, "r": result}))
    value: Value = result
    if result.isdigit() and result[0] != "0":
        value = reading(result)
    found: dict[str, Value] = {argument_key(rng, about.replace("_", " ")): value}
    if rng.random() < 0.5:
        other = rng.choice([a for a in KIND_ABOUT if a != about])
        found[other] = outcome(KIND_ABOUT[other])(rng)
    if rng.random() < 0.4:
        found = {known["t"].replace(" ", "_"): known["v"], **found}
    pairs = list(found.items())
    rng.shuffle(pairs)
    return (
        compact(dict(pairs)) if rng.random() < 0.5 else json.dumps(dict(pairs), ensure_ascii=False)
    )


def _filled(text: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    return text


def lookup(rng: Random) -> Skill:
    """A tool that finds one thing about another."""
    thing, kind = _thing(rng)
    about = rng.choice([a for a in KIND_ABOUT if a != thing])
    words = about.replace("_", " ")
    get = rng.choice(
        ("get", "get", "get", "find", "look up", "fetch", "check", "read", "query", "")
    )
    form = rng.choice(
        (f"{get} {thing} {words}", f"{get} {thing} {words}", f"{get} {words}", f"{thing} {words}")
    )
    name = tool_name(rng, " ".join(form.split()))
    key = _key(rng, thing, kind)
    described = rng.choice(
        (
            "[Get|Gets|Look up|Returns|Find|Fetches] the {a} of {t}.",
            "[The|] {a} of {t}[ by its {k}|].",
            "[Tells|Says] [which|what] {a} {t} has.",
        )
    )
    shown = key.replace("_", " ") if key != thing else "name"
    tool = Tool(
        name,
        phrased(rng, _filled(described, {"a": words, "t": _a(thing), "k": shown})),
        (Argument(key, "string", phrased(rng, f"[The|] {shown}[ of the {thing}|]")),),
    )
    make, find = identifier(kind), outcome(KIND_ABOUT[about])

    def task(r: Random) -> Task:
        value = make(r)
        spoken = OTHER_NAMES.get(words, words) if r.random() < 0.3 else words
        known = {"a": spoken, "t": thing, "n": name}
        known["the"] = "the " if r.random() < 0.4 else ""
        if kind == "person" and r.random() < 0.5:
            known["t"], known["the"] = "", ""
        forms: tuple[str, ...] = LOOKING
        if about in QUESTIONS and r.random() < 0.4:
            forms = (f"[{QUESTIONS[about]}]".replace("{x}", "{the}{t} {v}"),)
        said = _written(r, r.choice(forms), {**known, "v": _quoted(r, value, kind)})
        result = find(r)
        plain = {"a": words, "t": thing, "v": value}
        clause = _sentence(_filled(spin(r, r.choice(FOUND)), {**plain, "r": result}))
        shown = _result(r, about, result, plain)
        said = " ".join(said.replace(" of  ", " of ").split())
        return Task(said, {key: value}, shown, clause, f"{clause}.")

    return Skill(f"{thing} {words}", f"look up the {words} of {_a(thing)}", tool, task)


EXTRAS: tuple[tuple[str, Kind, str, str, str], ...] = (
    ("priority", "string", "low|medium|high|urgent", "[with|at] {v} priority|, priority {v}", ""),
    ("color", "string", "red|blue|green|black|white|yellow", "in {v}|with the color {v}", ""),
    ("size", "string", "small|medium|large", "in size {v}|, size {v}", ""),
    ("format", "string", "pdf|csv|json|txt|html|png", "as {v}|in the format {v}", ""),
    ("count", "integer", "", "{v} times|, count {v}", "number"),
    ("days", "integer", "", "for {v} days|, {v} days", "number"),
    ("amount", "number", "", "with [an|the] amount of {v}|, amount {v}", "number"),
    ("percent", "integer", "", "by {v} percent|, {v}%", "number"),
    ("date", "string", "", "on {v}|for {v}", "date"),
    ("time", "string", "", "at {v}", "time"),
    ("owner", "string", "", "for {v}|with {v} as [the|] owner", "person"),
    ("reason", "string", "", 'because of "{v}"|with the reason "{v}"', "phrase"),
    ("comment", "string", "", 'with the comment "{v}"|and note "{v}"', "phrase"),
    ("target", "string", "", "[to|into] {v}", "name"),
    ("city", "string", "", "in {v}", "city"),
    ("code", "string", "", "with [the|] code {v}", "code"),
    ("email", "string", "", "and [tell|notify] {v}|, email {v}", "email"),
)
"""Further arguments: key, type, choices, how a wish says them, and what their values are."""


def _extra_value(rng: Random, choices: str, kind: str) -> str:
    if choices:
        return rng.choice(choices.split("|"))
    made: dict[str, Callable[[Random], str]] = {
        "number": lambda r: str(r.randint(1, r.choice((9, 60, 999)))),
        "date": world.date,
        "time": world.time_of_day,
        "person": world.person,
        "phrase": phrase,
        "name": lambda r: r.choice((title(r), world.word(r).capitalize())),
        "city": world.city,
        "code": world.code,
        "email": world.email,
    }
    return made[kind](rng)


DOING = (
    "[Please|] {d} {the}{t} {v}{x}[.|, please.|]",
    "[I want to|I need to|I'd like to] {d} {the}{t} {v}{x}.",
    "[Can|Could] you {d} {the}{t} {v}{x}?",
    "[Please use|Use|Call] {n} to {d} {the}{t} {v}{x}.",
    "{d} {t} {v}{x}",
    "{the}{t} {v} [should be|has to be|must be] {p}{x}.",
    "[Go ahead and|Now|Just] {d} {the}{t} {v}{x}.",
)
DID = (
    "{t} {v} [has been|was|is now] {p}",
    "The {t} {v} [has been|was|is] {p}",
    "I have {p} {the}{t} {v}",
    "[Done|Okay|All done], {the}{t} {v} is {p}",
)
IRREGULAR = {
    "show": "shown",
    "hide": "hidden",
    "feed": "fed",
    "split": "split",
    "reset": "reset",
    "lend": "lent",
    "freeze": "frozen",
    "stop": "stopped",
    "pin": "pinned",
    "tag": "tagged",
    "scan": "scanned",
    "wrap": "wrapped",
    "label": "labelled",
    "cancel": "cancelled",
}


def done(deed: str) -> str:
    """The past participle."""
    if deed in IRREGULAR:
        return IRREGULAR[deed]
    if deed.endswith("e"):
        return f"{deed}d"
    return f"{deed[:-1]}ied" if deed.endswith("y") and deed[-2] not in "aeo" else f"{deed}ed"


def act(rng: Random) -> Skill:
    """A tool that does something with a thing, under up to two further arguments."""
    thing, kind = _thing(rng)
    deed = rng.choice(DEEDS) if rng.random() < 0.94 else world.word(rng, 1)
    name = tool_name(rng, f"{deed} {thing}" if rng.random() < 0.9 else f"{thing} {deed}")
    key = _key(rng, thing, kind)
    extras = rng.sample(EXTRAS, rng.choices((0, 1, 2), (45, 40, 15))[0])
    needed = [rng.random() < 0.6 for _ in extras]
    arguments = [Argument(key, "string", phrased(rng, f"[The|] {thing} to {deed}"))]
    for (extra, type_, choices, _, _), must in zip(extras, needed, strict=True):
        options = tuple(choices.split("|")) if choices else ()
        arguments.append(Argument(extra, type_, f"The {extra}", options, must))
    described = phrased(
        rng,
        rng.choice(
            (
                f"{deed} {_a(thing)}.",
                f"[Use this to {deed}|{deed}] {_a(thing)} by its {'name' if key == thing else key.replace('_', ' ')}.",
            )
        ),
    )
    tool = Tool(name, described, tuple({a.key: a for a in arguments}.values()))
    if len(tool.arguments) < len(arguments):
        return act(rng)
    make = identifier(kind)

    def task(r: Random) -> Task:
        value = make(r)
        given: dict[str, Value] = {key: value}
        tail = ""
        for (extra, type_, choices, said, values), must in zip(extras, needed, strict=True):
            if must or r.random() < 0.6:
                found = _extra_value(r, choices, values)
                given[extra] = typed(type_, found)
                spoken = spin(r, f"[{said}]").replace("{v}", found)
                tail += spoken if spoken.startswith(",") else f" {spoken}"
        known = {"d": deed, "t": thing, "n": name, "p": done(deed), "x": tail}
        known["the"] = "the " if r.random() < 0.6 else ""
        said = _written(r, r.choice(DOING), {**known, "v": _quoted(r, value, kind)})
        clause = _sentence(_filled(spin(r, r.choice(DID)), {**known, "v": value}))
        return Task(" ".join(said.split()), given, _ok(r, known, value), clause, f"{clause}.")

    return Skill(f"{deed} {thing}", f"{deed} {_a(thing)}", tool, task)


def _ok(rng: Random, known: dict[str, str], value: str) -> str:
    form = rng.choice(
        (
            "ok",
            "OK",
            "done",
            "Done.",
            "success",
            "true",
            '{"status":"ok"}',
            '{"success": true}',
            '{"ok":true}',
            "{t} {v} {p}",
            "{t} {v} {p}.",
            "The {t} was {p}.",
        )
    )
    return _filled(form, {**known, "v": value})


def skill(rng: Random) -> Skill:
    """A look-up or a deed."""
    return lookup(rng) if rng.random() < 0.62 else act(rng)
