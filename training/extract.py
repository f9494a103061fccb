"""Conversations that copy values out of a text: into flat JSON, or one value at a time.

Owns how texts are put together from the wordings of `fields` and the forms of the question. The scorer
asks about texts made of held-out wordings alone. A value in an answer stands in its text as it is,
except counts that the text spells out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from training import world
from training.chat import Example, Turn, ask
from training.corpora import Spans
from training.fields import FIELDS, FILLERS, HELD_FILLERS, HELD_OPENINGS, OPENINGS, Field
from training.world import spin

Asked = tuple[str, Field, str | None]
"""A key as the prompt spells it, its field, and the text of its value (None: not in the text)."""

JSON_TASKS = (
    "[Extract|Pull|Read|Get] [the|these|the following] [fields|data|details|information|values] from "
    "[the|this] {noun}[ as JSON| into JSON| and return JSON|]",
    "[Return|Give me|Write|Output] [a JSON object|JSON|one JSON object] with [the|these] "
    "[fields|keys|details] of [the|this] {noun}",
    "[Turn|Convert|Put] [the|this] {noun} into [JSON|a JSON object]",
    "[Fill in|Complete] the JSON [object|] [from|with what is in] the {noun}",
    "[Which|What] [details|data|values] does the {noun} [give|contain]? [Answer|Reply] [as|in] JSON",
    "[Find|Collect] [the|these] [details|values] in the {noun} and [answer|reply] [with|in] JSON",
)
NOUNS = ("message", "text", "email", "note", "request", "ticket", "mail")


@dataclass(frozen=True)
class Card:
    """A text and what stands in it: keys in the order asked, values as JSON would hold them."""

    text: str
    fields: tuple[Asked, ...]

    @property
    def answer(self) -> str:
        """The compact JSON object that holds the card's values."""
        return flat(self.fields)


def compact(value: object) -> str:
    """JSON on one line without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def flat(fields: Sequence[Asked]) -> str:
    """A compact JSON object of the fields; numbers keep every digit their text has."""
    parts = []
    for key, field, value in fields:
        bare = value is not None and field.json_type != "string"
        parts.append(f"{json.dumps(key)}:{value if bare else compact(value)}")
    return "{" + ",".join(parts) + "}"


def _written(rng: Random, field: Field, text: str) -> str:
    small = field.json_type == "integer" and int(text) < len(world.NUMBERS)
    return world.NUMBERS[int(text)] if small and rng.random() < 0.25 else text


HINTS: dict[str, tuple[str, ...]] = {
    "email address": ("{v}", "{v}", "to {v}", "under {v}"),
    "phone number": ("{v}", "{v}", "call {v}", "on {v}", "dial {v}", "under {v}"),
    "date": ("{v}", "on {v}", "since {v}", "to {v}", "until {v}", "from {v}"),
    "time": ("{v}", "at {v}", "by {v}", "until {v}", "is {v}"),
    "street address": ("{v}", "at {v}", "to {v}"),
    "tracking number": ("{v}", "parcel {v}", "code {v}", "shipment {v}", "with {v}"),
    "order number": ("order {v}", "purchase {v}", "order #{v}", "the order is {v}", "#{v}"),
    "invoice number": ("invoice {v}", "bill {v}", "the invoice number {v}", "bill number {v}"),
    "city": ("in {v}", "to {v}", "for {v}", "near {v}", "home in {v}", "home is {v}", "city {v}"),
    "quantity": ("{v} pieces", "{v} units", "{v} of them", "{v} items", "all {v}", "{v} boxes"),
    "name": ("by {v}", "from Mr {v}", "as {v}", "name {v}", "me, {v}", "sincerely {v}", "I, {v}"),
    "company": (
        "company {v}",
        "firm {v}",
        "at {v} we work",
        "work for {v}",
        "employer {v}",
        "buyer {v}",
        "our client {v}",
        "behalf of {v}",
    ),
    "product": ("a {v}", "the {v}", "my {v}", "this {v}", "with the {v}", "another {v}"),
    "amount": ("${v}", "€{v}", "£{v}", "{v} dollars", "{v} euros", "${v} altogether"),
}
"""Shortest settings that show what a value is; they stand among any words."""


def _loose(rng: Random, field: Field) -> str:
    """A sentence of any words around a value, so that the setting alone must tell what it is."""
    before = [rng.choice(LOOSE_WORDS) for _ in range(rng.randint(0, 5))]
    after = [rng.choice(LOOSE_WORDS) for _ in range(rng.choice((0, 0, 1, 2, 3)))]
    hint = rng.choice(HINTS[field.name])
    if rng.random() < 0.5 and before:
        before[0] = before[0].capitalize()
    return " ".join([*before, hint, *after]) + rng.choice((".", ".", "!", ", please.", ""))


LOOSE_WORDS = (
    "the a we they it all some then now here there still just please very good best next last you "
    "i can will would may is was are be have had take give find know see get go come make say keep "
    "about until since maybe thing whole people team note side form part best friend house week "
    "everybody somebody nobody request help problem reason question mail system card account store "
    "sure glad sorry ready wrong right late early open agreed heard sent filed taken meant paid kept"
).split()

Named = tuple[str, Field]
"""A key as the prompt spells it, and its field."""


HARD = frozenset({"email address", "phone number", "name", "company", "city", "quantity"})
"""Fields whose values have many rare pieces or no form of their own: asked for more often."""


def some_fields(rng: Random, most: int = 6, *, drilled: bool = False) -> list[Named]:
    """Fields to ask for, in the order asked, each under one of its keys.

    `drilled` takes the hard ones three times as often as the others.
    """
    pool = list(FIELDS) + 2 * [f for f in FIELDS if drilled and f.name in HARD]
    rng.shuffle(pool)
    chosen = list({f.name: f for f in pool}.values())[: rng.randint(1, most)]
    return [(rng.choice(f.keys), f) for f in chosen]


def _sender(rng: Random) -> dict[str, str]:
    """Often one person, whose address is made of the names: half a word that comes twice leads astray."""
    if rng.random() < 0.45:
        return {}
    person = world.person(rng)
    return {"name": person, "email address": world.address_of(rng, person)}


def card(
    rng: Random, *, held: bool, absent: float = 0.06, wanted: Sequence[Named] | None = None
) -> Card:
    """A text of some fields' wordings in random order among fillers, and its values.

    `held` takes every wording from those never trained on; `absent` is the share of asked fields
    that the text does not mention (null in the answer); `wanted` are the fields, else random ones.
    """
    chosen = wanted or some_fields(rng)
    clauses: list[str] = []
    fields: list[Asked] = []
    sender = {} if held else _sender(rng)
    for key, field in chosen:
        value = sender.get(field.name) or field.value(rng)
        if rng.random() < absent and len(chosen) > 1:
            fields.append((key, field, None))
            continue
        wording = spin(rng, rng.choice(field.held if held else field.train))
        if not held and rng.random() < 0.4:
            wording = _loose(rng, field)
        clauses.append(wording.replace("{v}", _written(rng, field, value)))
        fields.append((key, field, value))
    if sender and rng.random() < 0.5 and "name" not in {field.name for _, field in chosen}:
        clauses.append(spin(rng, f"[My name is|I am|This is|Regards,] {sender['name']}."))
    fillers = rng.sample(HELD_FILLERS if held else FILLERS, rng.randint(0, 2))
    clauses += [spin(rng, filler) for filler in fillers]
    rng.shuffle(clauses)
    opening = spin(rng, rng.choice(HELD_OPENINGS if held else OPENINGS))
    joint = rng.choice((" ", " ", " ", "\n"))
    text = f"{opening}{rng.choice((' ', chr(10)))}{joint.join(clauses)}".strip()
    return Card(text, tuple(fields))


def schema(fields: Sequence[Asked]) -> dict[str, object]:
    """The JSON Schema of a card's flat object; fields the text lacks may be null."""
    properties: dict[str, object] = {}
    for key, field, value in fields:
        kind: object = [field.json_type, "null"] if value is None else field.json_type
        properties[key] = {"type": kind}
    keys = [key for key, _, _ in fields]
    return {
        "type": "object",
        "properties": properties,
        "required": keys,
        "additionalProperties": False,
    }


def _blank(field: Field) -> str | int:
    return "" if field.json_type == "string" else 0


def asked(rng: Random, fields: Sequence[Asked]) -> str:
    """The part of a prompt that names the fields: schema, list, types, template or prose."""
    keys = [key for key, _, _ in fields]
    form = rng.randrange(8)
    if form <= 1:
        body = json.dumps(schema(fields), separators=((",", ":") if rng.random() < 0.5 else None))
        head = spin(
            rng, "[JSON schema|Schema|Use this schema|Follow this JSON schema|Output schema]"
        )
        return f"{head}:{rng.choice((' ', chr(10)))}{body}"
    if form <= 3:
        return spin(rng, "[Fields|Keys|With the keys]: ") + ", ".join(keys)
    if form == 4:
        return "Fields:\n" + "\n".join(f"- {key} ({f.json_type})" for key, f, _ in fields)
    if form == 5:
        lines = "\n".join(f"- {key}: the {f.name}" for key, f, _ in fields)
        return f"Keys:\n{lines}"
    if form == 6:
        blank = compact({key: _blank(f) for key, f, _ in fields})
        return f"{spin(rng, '[Form|Template|Use this form|Format]')}: {blank}"
    return spin(rng, "Use [the keys|exactly these keys:|only the keys] ") + " and ".join(keys) + "."


def json_question(rng: Random, item: Card) -> tuple[str, str]:
    """System text (may be empty) and user text that ask for a card's JSON."""
    noun = rng.choice(NOUNS)
    task = spin(rng, rng.choice(JSON_TASKS)).format(noun=noun) + "."
    name = noun.capitalize()
    body = rng.choice(
        (
            item.text,
            f"{name}: {item.text}",
            f"{name}:\n{item.text}",
            f"<{noun}>{item.text}</{noun}>",
        )
    )
    want = asked(rng, item.fields)
    form = rng.randrange(12)
    if form <= 1:
        return f"{task} {want}", body
    if form == 2:
        return want, f"{task}\n\n{body}"
    if form == 3:
        return "", f"{body}\n\n{task} {want}"
    if form == 4:
        return "", f"{task}\n\n{body}"
    return "", f"{task} {want}\n\n{body}"


def extraction(rng: Random) -> Example:
    """A text turned into a flat JSON object; often further texts with the same fields."""
    wanted = some_fields(rng, drilled=rng.random() < 0.7)
    item = card(rng, held=False, wanted=wanted)
    system, question = json_question(rng, item)
    turns = [Turn("system", system)] if system else []
    turns += [Turn("user", question), Turn("assistant", item.answer)]
    for _ in range(rng.choice((0, 0, 1, 2))):
        item = card(rng, held=False, wanted=wanted)
        turns += [Turn("user", item.text), Turn("assistant", item.answer)]
    return Example("extract", tuple(turns))


def lookup(rng: Random) -> Example:
    """Questions about single values of a text, one after the other."""
    item = card(rng, held=False, absent=0.0, wanted=some_fields(rng, drilled=True))
    turns: list[Turn] = []
    for _, field, value in rng.sample(item.fields, min(len(item.fields), 4)):
        question = spin(
            rng,
            rng.choice(
                (
                    f"What is the {field.name}?",
                    f"[Which|What] {field.name} [does the text give|is given]?",
                    f"[Give me|Tell me|Find|Extract] the {field.name}.",
                    f"{field.name.capitalize()}?",
                )
            ),
        )
        if not turns:
            only = spin(rng, "[Answer with the value only.|Just the value.|Reply with the value.|]")
            question = f"{item.text}\n\n{question} {only}".strip()
        turns += [Turn("user", question), Turn("assistant", str(value))]
    return Example("extract", tuple(turns))


def slots(rng: Random, pool: Sequence[Spans], names: Sequence[str]) -> Example:
    """A sentence people wrote, its marked slots as JSON; slots that are not there are null."""
    item = rng.choice(pool)
    keys = list(item.slots)
    keys += [
        n for n in rng.sample(list(names), min(len(names), rng.randint(0, 2))) if n not in keys
    ]
    rng.shuffle(keys)
    body = {
        "type": "object",
        "properties": {key: {"type": ["string", "null"]} for key in keys},
        "required": keys,
    }
    want = rng.choice(
        (
            f"Schema: {compact(body)}",
            "Fields: " + ", ".join(keys),
            "Keys: " + ", ".join(keys) + ". Use null for what is missing.",
        )
    )
    task = spin(rng, rng.choice(JSON_TASKS)).format(noun="message") + "."
    answer = compact({key: item.slots.get(key) for key in keys})
    return ask("extract", f"{task} {want}\n\nMessage: {item.text}", answer)
