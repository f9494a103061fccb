"""Conversations that copy values out of a text: into flat JSON, or one value at a time.

Owns the fields, the wordings that mention them and the forms of the question. Every field has
wordings that are never trained on (`held`); the scorer asks about texts made of those alone. A value
in an answer stands in its text as it is, except counts that the text spells out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from training import world
from training.chat import Example, Turn, ask
from training.corpora import Spans
from training.world import spin


@dataclass(frozen=True)
class Field:
    """Something a text can mention: key spellings, a plain name, values, wordings."""

    keys: tuple[str, ...]
    name: str
    value: Callable[[Random], str]
    train: tuple[str, ...]
    held: tuple[str, ...]
    json_type: str = "string"


def _count(rng: Random) -> str:
    return str(rng.randint(1, 12) if rng.random() < 0.8 else rng.randint(13, 200))


FIELDS: tuple[Field, ...] = (
    Field(
        ("name", "customer_name", "customer", "full_name", "customerName"),
        "name",
        world.person,
        (
            "[My name is|I am|I'm|This is] {v}.",
            "{v} here.",
            "[It's|Here is] {v} [writing|again].",
            "[Customer|Name]: {v}.",
            "The [customer|caller|client] is [called|named|] {v}.",
            "[Hi|Hello], [my name's|I'm] {v}.",
            "[Please note|Note] that the account is under {v}.",
            "{v} [called|wrote|contacted us] [today|this morning|about it].",
            "I [go by|am] {v}.",
            "You [spoke|talked] to {v} [earlier|last week].",
            "Regards, {v}.",
            "[Best|Thanks], {v}",
        ),
        (
            "The request was filed by {v}.",
            "We heard from {v} on this.",
            "Yours sincerely, {v}",
            "[Everybody|The team] knows me as {v}.",
        ),
    ),
    Field(
        ("order_number", "order_id", "order", "orderNumber", "order_no"),
        "order number",
        world.order_number,
        (
            "[My|The] order [number|id] is {v}.",
            "[It|This] [is about|concerns] order {v}.",
            "Order {v} [has not arrived|is late|never came|was wrong].",
            "[Order|Order no.]: {v}.",
            "I [placed|made] order {v} [last week|recently|online].",
            "[Regarding|About] order #{v}.",
            "[Could|Can] you [check|look up] order {v}[?| please.]",
            "I am still waiting for order {v}.",
            "[Reference|Order reference] {v}.",
            "The order [in question|concerned] is {v}.",
            "My purchase has the number {v}.",
        ),
        (
            "You will find it under order {v}.",
            "Please pull up purchase {v} in your system.",
            "The confirmation mail says order {v}.",
            "Something went wrong with #{v}.",
        ),
    ),
    Field(
        ("email", "email_address", "mail", "contact_email", "customer_email"),
        "email address",
        world.email,
        (
            "[My|The] email [address|] is {v}.",
            "[You can reach|Reach|Contact] me at {v}.",
            "[Please|] [write|reply|answer] to {v}.",
            "[Email|E-mail]: {v}.",
            "[I registered|My account is registered] with {v}.",
            "Send [it|the reply] to {v} please.",
            "I [use|am using] {v} [to log in|for my account].",
            "[Contact|Mail] {v}.",
        ),
        (
            "The best address for me is {v}.",
            "Kindly drop a line to {v}.",
            "Anything else goes to {v}, please.",
            "The login belongs to {v}.",
        ),
    ),
    Field(
        ("phone", "phone_number", "telephone", "phoneNumber", "mobile"),
        "phone number",
        world.phone,
        (
            "[My|The] phone [number|] is {v}.",
            "[Call|Ring] me [at|on] {v}.",
            "[Phone|Tel]: {v}.",
            "[You can call|Please call] {v}.",
            "My [mobile|number] is {v}.",
            "Reach me by phone on {v}.",
        ),
        ("By telephone I am available under {v}.", "Feel free to dial {v}.", "Text me on {v}."),
    ),
    Field(
        ("date", "order_date", "purchase_date", "delivery_date", "orderDate"),
        "date",
        world.date,
        (
            "[I bought it|I ordered|It was ordered] on {v}.",
            "[Date|Dated]: {v}.",
            "[On|Since] {v} [nothing happened|I have been waiting].",
            "[It was|The order was] placed on {v}.",
            "The [date|day] [is|was] {v}.",
            "It [arrived|came|was delivered] on {v}.",
            "[The meeting|The appointment|Our visit] is on {v}.",
        ),
        ("The whole thing goes back to {v}.", "We agreed on {v} for this.", "It began on {v}."),
    ),
    Field(
        ("product", "item", "product_name", "article", "productName"),
        "product",
        world.product,
        (
            "[I bought|I ordered|I purchased] a {v}.",
            "[The|My] {v} [is broken|does not work|is damaged|arrived broken|stopped working].",
            "[Product|Item]: {v}.",
            "It is about [the|a] {v}.",
            "[I want|I would like] to return [the|a] {v}.",
            "I [have a problem|need help] with my {v}.",
            "The {v} is [too small|not what I expected|the wrong colour].",
            "I am looking for a {v}.",
        ),
        (
            "We are unhappy with the {v}.",
            "Somebody delivered a {v} to us.",
            "A {v} was in the parcel.",
            "Please exchange the {v}.",
        ),
    ),
    Field(
        ("amount", "total", "price", "total_amount", "cost"),
        "amount",
        world.amount,
        (
            "[I paid|It cost|I was charged] [$|€|£|]{v}.",
            "[Total|Amount|Price]: [$|€|]{v}.",
            "The [total|price|amount] [is|was] [$|€|£]{v}.",
            "You charged me {v} [dollars|euros].",
            "The invoice [is over|says] [$|€]{v}.",
            "It [was|came to] {v} [USD|EUR|dollars].",
        ),
        (
            "My bank statement shows [$|€]{v}.",
            "That made [$|£]{v} altogether.",
            "They took {v} dollars from my card.",
        ),
        "number",
    ),
    Field(
        ("city", "location", "town", "delivery_city"),
        "city",
        world.city,
        (
            "I [live|am|am based] in {v}.",
            "[City|Location]: {v}.",
            "[I'm|We are] [writing|calling] from {v}.",
            "[Ship|Send|Deliver] it to {v}[| please].",
            "It [should go|goes] to {v}.",
            "Our [office|house|flat] is in {v}.",
            "I [moved|have moved] to {v}.",
        ),
        ("The parcel is meant for {v}.", "My home is {v}.", "We are staying in {v} now."),
    ),
    Field(
        ("quantity", "count", "number_of_items", "units"),
        "quantity",
        _count,
        (
            "I [ordered|need|bought|want] {v} of them.",
            "[Quantity|Units|Pieces]: {v}.",
            "[Please send|Send me] {v} [pieces|units].",
            "There [are|were] {v} [pieces|items|units].",
            "We [need|received] {v} [pieces|items|in total].",
        ),
        ("It should be {v} pieces.", "Make that {v} units.", "All {v} of them, please."),
        "integer",
    ),
    Field(
        ("company", "company_name", "employer", "organization", "firm"),
        "company",
        world.firm,
        (
            "I work [for|at] {v}.",
            "[Company|Firm]: {v}.",
            "[We are|I am writing for|I represent] {v}.",
            "[The invoice goes|Please bill it] to {v}.",
            "Our company is [called|] {v}.",
            "I am [a manager|an engineer|in sales] at {v}.",
        ),
        ("On behalf of {v} I ask for help.", "{v} is my employer.", "The buyer is {v}."),
    ),
    Field(
        ("tracking_number", "tracking_code", "tracking", "trackingNumber"),
        "tracking number",
        world.tracking,
        (
            "[The|My] tracking [number|code] is {v}.",
            "[Tracking|Parcel]: {v}.",
            "The parcel {v} is [lost|late|missing].",
            "[I tracked|I am tracking] it [with|under] {v}.",
            "The courier gave me [the code|] {v}.",
        ),
        ("The shipment carries the code {v}.", "Follow it with {v}.", "Parcel code {v}."),
    ),
    Field(
        ("address", "street", "street_address", "delivery_address"),
        "street address",
        world.street,
        (
            "[My|The] address is {v}.",
            "[Address|Street]: {v}.",
            "I live at {v}.",
            "[Please send it|Deliver|Ship it] to {v}.",
            "[Our office|The shop] is at {v}.",
        ),
        ("The courier should ring at {v}.", "You find us at {v}.", "Drop it at {v}, please."),
    ),
    Field(
        ("time", "appointment_time", "hour", "start_time"),
        "time",
        world.time_of_day,
        (
            "[Please come|Come|Call me] at {v}.",
            "[Time|Hour]: {v}.",
            "[The appointment|It] is at {v}.",
            "[We meet|Let's meet|The table is booked] at {v}.",
            "[It starts|It begins] at {v}.",
        ),
        ("Be there by {v}.", "The slot is {v}.", "Half of us arrive at {v}."),
    ),
    Field(
        ("invoice_number", "invoice_id", "invoice", "invoiceNumber"),
        "invoice number",
        lambda rng: rng.choice(("INV-", "", "RE", "I")) + world.digits(rng, 4, 8),
        (
            "[The|My] invoice [number|] is {v}.",
            "[Invoice|Invoice no.]: {v}.",
            "It is about invoice {v}.",
            "[I have|I got] a question about invoice {v}.",
            "Invoice {v} [is wrong|is unpaid].",
        ),
        ("The bill carries number {v}.", "Please correct invoice {v} for me.", "See invoice {v}."),
    ),
)

Asked = tuple[str, Field, str | None]
"""A key as the prompt spells it, its field, and the text of its value (None: not in the text)."""

OPENINGS = (
    "",
    "",
    "Hello,",
    "Hi,",
    "Hi there,",
    "Good morning,",
    "Dear [team|support|Sir or Madam],",
    "Hello [team|support],",
    "Good day.",
    "[To whom it may concern|Hey],",
    "Subject: [help|request|question|complaint|my order]\n",
)
FILLERS = (
    "I [hope|trust] you are well.",
    "[Please help me|Can you help me] with this.",
    "I am [not happy|disappointed|annoyed].",
    "[What can I do|What should I do] now?",
    "Thank you for your help.",
    "Please [answer|reply|get back to me] [soon|quickly|today].",
    "This is [urgent|important].",
    "I have [tried everything|already written twice|waited long enough].",
    "Thanks in advance.",
    "It [would be great|is important] to hear from you.",
    "I [really|] need [it|this] [soon|now].",
    "[Unfortunately|Sadly] nobody [answered|called back].",
    "The box was [open|fine|damaged].",
    "I am [quite|very|] [happy|satisfied] [so far|otherwise].",
    "Is that [possible|okay]?",
)
HELD_OPENINGS = ("Greetings,", "Dear colleagues,", "", "Hello everybody,")
HELD_FILLERS = (
    "I would be glad about a short note.",
    "Kindly look into the matter.",
    "Any news on this?",
    "I am sure we will find a way.",
    "The weather has been awful too.",
    "That is all for now.",
)
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


Named = tuple[str, Field]
"""A key as the prompt spells it, and its field."""


def some_fields(rng: Random, most: int = 6) -> list[Named]:
    """Fields to ask for, in the order asked, each under one of its keys."""
    return [(rng.choice(f.keys), f) for f in rng.sample(FIELDS, rng.randint(1, most))]


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
    for key, field in chosen:
        value = field.value(rng)
        if rng.random() < absent and len(chosen) > 1:
            fields.append((key, field, None))
            continue
        wording = spin(rng, rng.choice(field.held if held else field.train))
        clauses.append(wording.replace("{v}", _written(rng, field, value)))
        fields.append((key, field, value))
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
    wanted = some_fields(rng)
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
    item = card(rng, held=False, absent=0.0)
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
