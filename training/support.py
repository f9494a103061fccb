"""Conversations of a support desk: a firm's facts in the system text, answers that use them.

Owns the questions people ask a shop and how a good agent answers: from the facts given, saying so
when a fact is missing. Replies of the public support set get their placeholders filled here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from training import world
from training.chat import Example, Turn
from training.corpora import Support
from training.world import spin


@dataclass(frozen=True)
class Topic:
    """A fact a firm may state: its value, how the system text says it, questions, answers."""

    name: str
    value: Callable[[Random], str]
    fact: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]


def _days(rng: Random) -> str:
    low = rng.randint(1, 9)
    return rng.choice(
        (
            f"{low} to {low + rng.randint(1, 5)} [business|working] days",
            f"{rng.choice((7, 10, 14, 20, 28, 30, 45, 60, 90, 100))} days",
            f"{low + 1} days",
            f"{rng.choice(('two', 'three', 'four'))} weeks",
        )
    )


def _hours(rng: Random) -> str:
    first, last = rng.randint(6, 11), rng.randint(4, 10)
    days = rng.choice(
        (
            "Monday to Friday",
            "Monday to Saturday",
            "every day",
            "on weekdays",
            "Tuesday to Saturday",
            "Monday to Thursday",
        )
    )
    return f"{days} from {first} am to {last} pm"


def _money(rng: Random) -> str:
    small = f"{rng.randint(1, 60)}{rng.choice(('', '.00', '.50', '.90', '.95', '.99'))}"
    return rng.choice(("$", "€", "£")) + (small if rng.random() < 0.6 else world.amount(rng))


def _payments(rng: Random) -> str:
    kinds = rng.sample(
        (
            "credit card",
            "PayPal",
            "bank transfer",
            "invoice",
            "Apple Pay",
            "Google Pay",
            "gift card",
            "debit card",
            "cash on delivery",
        ),
        3,
    )
    return f"{kinds[0]}, {kinds[1]} and {kinds[2]}"


def _countries(rng: Random) -> str:
    names = rng.sample(
        (
            "Germany",
            "France",
            "Spain",
            "Italy",
            "Austria",
            "Poland",
            "Canada",
            "Japan",
            "the United States",
            "the United Kingdom",
            "Norway",
            "Brazil",
            "India",
        ),
        3,
    )
    return f"{names[0]}, {names[1]} and {names[2]}"


TOPICS: tuple[Topic, ...] = (
    Topic(
        "return period",
        _days,
        (
            "Returns are accepted within {v}.",
            "Customers can return items within {v}.",
            "Return window: {v}.",
        ),
        (
            "How long do I have to return [an item|something|my order|it]?",
            "What is your return [policy|window|period]?",
            "Can I [send|give] [this|it|an item] back?",
            "[I want|I would like] to return [something|a {p}]. How long do I have?",
            "Can I return my {p}?",
        ),
        (
            "You can return [your item|it] within {v}. [Just make sure it is unused and in its "
            "original packaging.|Would you like me to explain how to start the return?|]",
            "Returns are accepted within {v}[ of delivery|]. [Let me know if you would like to start "
            "one.|I am happy to help you with it.|]",
            "Of course. You have {v} to send it back.",
        ),
    ),
    Topic(
        "delivery time",
        _days,
        ("Delivery takes {v}.", "Standard shipping takes {v}.", "Orders arrive within {v}."),
        (
            "How long does [shipping|delivery] take?",
            "When will my order arrive?",
            "How fast do you [deliver|ship]?",
            "What is the [delivery|shipping] time?",
            "When do I get my {p}?",
        ),
        (
            "[Standard delivery|Delivery|Shipping] takes {v}. [You will get a tracking link by email "
            "once your order is on its way.|]",
            "Your order should arrive within {v}.",
            "We deliver within {v}. [Is there anything else I can help with?|]",
        ),
    ),
    Topic(
        "shipping cost",
        _money,
        ("Shipping costs {v}.", "The shipping fee is {v}.", "Delivery fee: {v}."),
        (
            "How much [is|does] [shipping|delivery][ cost|]?",
            "What do you charge for shipping?",
            "What is the delivery fee?",
            "Is shipping free?",
            "Do I have to pay for delivery?",
        ),
        (
            "Shipping costs {v}.",
            "The shipping fee is {v}[ per order|].",
            "We charge {v} for delivery. [Is there anything else you would like to know?|]",
        ),
    ),
    Topic(
        "opening hours",
        _hours,
        (
            "Support hours: {v}.",
            "Our team is available {v}.",
            "Opening hours: {v}.",
            "We are open {v}.",
        ),
        (
            "When are you open?",
            "What are your [opening|support|business] hours?",
            "When can I [call|reach] [you|support]?",
            "Are you open on [Sunday|Saturday|Monday]?",
            "Until when are you open today?",
        ),
        (
            "We are open {v}.",
            "You can reach us {v}.",
            "Our team is available {v}. [Feel free to contact us during these hours.|]",
        ),
    ),
    Topic(
        "support email",
        world.email,
        ("Support email: {v}.", "Customers can write to {v}.", "Contact: {v}."),
        (
            "What is your email [address|]?",
            "How can I [contact|reach|write to] [you|support|a person]?",
            "Where can I send a [complaint|message|question]?",
            "Can I email you?",
            "I want to talk to a [human|person|real agent].",
        ),
        (
            "You can write to us at {v}.",
            "Please send an email to {v}[ and our team will get back to you|].",
            "[Of course|Sure]. Our team can be reached at {v}.",
        ),
    ),
    Topic(
        "support phone",
        world.phone,
        ("Phone: {v}.", "Hotline: {v}.", "The support phone number is {v}."),
        (
            "What is your phone number?",
            "Can I call you?",
            "Is there a [hotline|number I can call]?",
            "I would rather [call|talk to] somebody. What is the number?",
        ),
        ("You can call us at {v}.", "Our phone number is {v}.", "[Sure|Yes], please call {v}."),
    ),
    Topic(
        "payment methods",
        _payments,
        ("Payment methods: {v}.", "We accept {v}.", "Customers can pay by {v}."),
        (
            "How can I pay?",
            "[Which|What] payment methods do you [accept|offer|take]?",
            "Can I pay [by credit card|with PayPal|on invoice]?",
            "What are the payment options?",
        ),
        ("You can pay by {v}.", "We accept {v}.", "The payment options are {v}."),
    ),
    Topic(
        "warranty",
        lambda rng: f"{rng.randint(1, 10)} years",
        ("All products have a warranty of {v}.", "Warranty: {v}.", "The warranty lasts {v}."),
        (
            "How long is the warranty?",
            "Is there a [warranty|guarantee]?",
            "My {p} broke. Is it [under warranty|covered]?",
            "What [warranty|guarantee] do you give?",
        ),
        (
            "Our products come with a warranty of {v}.",
            "The warranty lasts {v}. [If your item is "
            "faulty, please send us a photo and your order number.|]",
            "Yes, there is a warranty of {v}.",
        ),
    ),
    Topic(
        "countries",
        _countries,
        ("We ship to {v}.", "Delivery is possible to {v}.", "Countries: {v}."),
        (
            "Where do you [ship|deliver]?",
            "Do you [ship|deliver] abroad?",
            "[Which|What] countries do you [ship|deliver] to?",
            "Can you ship to [Germany|Japan|Spain|Canada]?",
        ),
        ("We ship to {v}.", "We currently deliver to {v}.", "At the moment we ship to {v}."),
    ),
    Topic(
        "refund time",
        _days,
        ("Refunds take {v}.", "Refunds are paid within {v}.", "Refund time: {v}."),
        (
            "When do I get my [money back|refund]?",
            "How long does a refund take?",
            "Where is my refund?",
            "I [returned|sent back] my {p}. When is the refund coming?",
        ),
        (
            "Refunds take {v}[ once we have received the item|].",
            "You will get your money back within {v}.",
            "Your refund should arrive within {v}. [Thank you for your patience.|]",
        ),
    ),
    Topic(
        "subscription price",
        _money,
        (
            "A subscription costs {v} a month.",
            "The monthly price is {v}.",
            "Plan price: {v} a month.",
        ),
        (
            "How much is [a|the] subscription?",
            "What does it cost [per|a] month?",
            "What is the [monthly price|price of the plan]?",
            "How expensive is it?",
        ),
        (
            "The subscription costs {v} a month.",
            "It is {v} a month.",
            "The monthly price is {v}. [You can cancel at any time in your account.|]",
        ),
    ),
    Topic(
        "address",
        lambda rng: f"{world.street(rng)}, {world.city(rng)}",
        ("Our address is {v}.", "The shop is at {v}.", "Address: {v}."),
        (
            "Where are you [located|based]?",
            "What is your address?",
            "Where is your [shop|store|office]?",
            "Can I [visit you|pick it up in person]?",
        ),
        (
            "You find us at {v}.",
            "Our address is {v}.",
            "We are at {v}. [We look forward to your visit.|]",
        ),
    ),
    Topic(
        "discount code",
        world.code,
        ("The discount code is {v}.", "Current voucher: {v}.", "New customers may use code {v}."),
        (
            "Do you have a [discount|voucher|promo] code?",
            "Is there a discount?",
            "Can I get it cheaper?",
            "Any [discounts|vouchers] for me?",
        ),
        (
            "Yes, you can use the code {v} at checkout.",
            "[Sure|Yes]! The code is {v}.",
            "Please enter {v} at checkout to get the discount.",
        ),
    ),
)


def _period(rng: Random) -> str:
    low = rng.randint(1, 20)
    unit = rng.choice(("days", "days", "business days", "working days", "hours", "weeks", "months"))
    return rng.choice((f"{low} to {low + rng.randint(1, 6)} {unit}", f"{low + 1} {unit}"))


PERIODS: tuple[Topic, ...] = (
    Topic(
        "express delivery time",
        _period,
        ("Express delivery takes {v}.", "Express: {v}.", "Express shipping arrives in {v}."),
        (
            "How [long|fast] is express [delivery|shipping]?",
            "How long does express [take|shipping take|delivery take]?",
            "I need it fast. How long does express take?",
        ),
        ("Express delivery takes {v}.", "With express shipping it takes {v}."),
    ),
    Topic(
        "international delivery time",
        _period,
        (
            "International [delivery|shipping] takes {v}.",
            "Orders to other countries arrive within {v}.",
            "Delivery abroad: {v}.",
        ),
        (
            "How long does [international|overseas] [shipping|delivery] take?",
            "How long does it take to ship [abroad|to another country]?",
            "When does an order abroad arrive?",
        ),
        ("International delivery takes {v}.", "Orders abroad arrive within {v}."),
    ),
    Topic(
        "exchange period",
        _period,
        ("Items can be exchanged within {v}.", "Exchanges: within {v}.", "Exchange period: {v}."),
        (
            "How long can I exchange [an item|my {p}|it]?",
            "Can I exchange my {p} for another size?",
            "Until when is an exchange possible?",
            "Can I swap [it|this] for a different one?",
        ),
        ("You can exchange it within {v}.", "Yes, exchanges are possible within {v}."),
    ),
    Topic(
        "cancellation period",
        _period,
        (
            "Orders can be cancelled within {v}.",
            "Cancellation is free within {v} of ordering.",
            "Cancellation period: {v}.",
        ),
        (
            "Can I [still|] cancel my order?",
            "How long can I cancel an order?",
            "Until when can I cancel?",
            "I want to cancel [my order|the {p} I ordered]. Is that possible?",
        ),
        ("You can cancel [an order|it] within {v}.", "Orders can be cancelled within {v}."),
    ),
    Topic(
        "repair time",
        _period,
        ("Repairs take {v}.", "Repair time: {v}.", "A repair is done within {v}."),
        (
            "How long does a repair take?",
            "When will my {p} be repaired?",
            "How long do you need to fix my {p}?",
        ),
        ("A repair takes {v}.", "Repairs take {v}."),
    ),
    Topic(
        "answer time",
        _period,
        ("Emails are answered within {v}.", "We reply to messages within {v}."),
        (
            "When will [you answer|I get an answer|somebody reply]?",
            "How long does it take until I hear from you?",
            "I sent an email. When do I get a reply?",
        ),
        ("We answer emails within {v}.", "You will get a reply within {v}."),
    ),
    Topic(
        "trial period",
        _period,
        ("The free trial lasts {v}.", "Free trial: {v}.", "You can try it free for {v}."),
        (
            "How long is the [free|] trial?",
            "Is there a free trial?",
            "Can I [try|test] it for free?",
        ),
        ("The free trial lasts {v}.", "Yes, you can try it for {v}."),
    ),
    Topic(
        "packing time",
        _period,
        ("Orders are packed within {v}.", "We ship orders {v} after payment.", "Processing: {v}."),
        (
            "When will my order be [sent|shipped|packed]?",
            "How long does it take to process an order?",
            "When does my order leave your warehouse?",
        ),
        ("Your order will leave us within {v}.", "Processing takes {v}."),
    ),
    Topic(
        "pickup period",
        _period,
        ("Parcels are kept at the pickup point for {v}.", "Pickup: parcels wait for {v}."),
        (
            "How long is my parcel kept at the pickup point?",
            "Until when can I pick up my parcel?",
            "How long do you keep my package?",
        ),
        ("Your parcel is kept for {v}.", "You can pick it up for {v}."),
    ),
    Topic(
        "damage report period",
        _period,
        ("Damage must be reported within {v}.", "Report damaged goods within {v}."),
        (
            "My {p} arrived [damaged|broken]. How long do I have to report it?",
            "Until when can I report damage?",
            "By when do I have to tell you that something is broken?",
        ),
        ("Please report damage within {v}.", "Damage must be reported within {v}."),
    ),
)
AMOUNTS: tuple[Topic, ...] = (
    Topic(
        "express shipping cost",
        _money,
        ("Express shipping costs {v}.", "Express: {v}.", "Express delivery is {v}."),
        (
            "How much is express [shipping|delivery]?",
            "What does express cost?",
            "What do you charge for express delivery?",
        ),
        ("Express shipping costs {v}.", "Express delivery is {v}."),
    ),
    Topic(
        "free shipping from",
        _money,
        (
            "Shipping is free for orders over {v}.",
            "Free delivery from {v}.",
            "Orders above {v} ship free.",
        ),
        (
            "When is shipping free?",
            "How much do I have to [spend|order] for free [shipping|delivery]?",
            "From what amount on is delivery free?",
        ),
        ("Shipping is free for orders over {v}.", "Delivery is free from {v} on."),
    ),
    Topic(
        "yearly price",
        _money,
        ("The yearly plan costs {v}.", "Annual price: {v}.", "A year costs {v}."),
        (
            "How much is [a year|the yearly plan|the annual plan]?",
            "What does it cost per year?",
            "What is the annual price?",
        ),
        ("The yearly plan costs {v}.", "It is {v} a year."),
    ),
    Topic(
        "gift wrapping",
        _money,
        ("Gift wrapping costs {v}.", "Gift wrap: {v}.", "We wrap gifts for {v}."),
        (
            "How much is gift wrapping?",
            "Can you wrap it as a gift?",
            "Do you offer gift wrap?",
        ),
        ("Gift wrapping costs {v}.", "Yes, we wrap gifts for {v}."),
    ),
    Topic(
        "return fee",
        _money,
        ("Returns cost {v}.", "The return label costs {v}.", "Return fee: {v}."),
        (
            "How much does a return cost?",
            "Is sending it back free?",
            "Do I have to pay for the return label?",
            "Are returns free?",
        ),
        ("A return costs {v}.", "The return label costs {v}."),
    ),
    Topic(
        "minimum order",
        _money,
        ("The minimum order is {v}.", "Minimum order value: {v}.", "We accept orders from {v} on."),
        (
            "Is there a minimum order?",
            "What is the minimum order value?",
            "How much do I have to order at least?",
        ),
        ("The minimum order is {v}.", "Yes, the minimum order value is {v}."),
    ),
    Topic(
        "late fee",
        _money,
        ("The late fee is {v}.", "Late payment costs {v}.", "Reminder fee: {v}."),
        (
            "What happens if I pay late?",
            "How much is the late fee?",
            "Is there a fee for late payment?",
        ),
        ("The late fee is {v}.", "A late payment costs {v}."),
    ),
    Topic(
        "deposit",
        _money,
        ("A deposit of {v} is required.", "Deposit: {v}.", "The deposit is {v}."),
        ("How much is the deposit?", "Do I have to leave a deposit?", "Is there a deposit?"),
        ("The deposit is {v}.", "Yes, a deposit of {v} is required."),
    ),
    Topic(
        "installation",
        _money,
        ("Installation costs {v}.", "Installation: {v}.", "We install it for {v}."),
        (
            "How much is [the|] installation?",
            "Can you install my {p}?",
            "What do you charge for installing it?",
        ),
        ("Installation costs {v}.", "Yes, we install it for {v}."),
    ),
    Topic(
        "student discount price",
        _money,
        (
            "Students pay {v} a month.",
            "Student price: {v} a month.",
            "For students it is {v} a month.",
        ),
        (
            "What do students pay?",
            "Is there a student [price|discount]?",
            "I am a student. What does it cost?",
        ),
        ("Students pay {v} a month.", "The student price is {v} a month."),
    ),
)


def _family(names: frozenset[str]) -> tuple[Topic, ...]:
    return tuple(topic for topic in TOPICS if topic.name in names)


FAMILIES: tuple[tuple[Topic, ...], ...] = (
    PERIODS + _family(frozenset(("return period", "delivery time", "refund time", "warranty"))),
    AMOUNTS + _family(frozenset(("shipping cost", "subscription price"))),
)
"""Facts whose values look alike, so that only what is asked tells which one to give."""
UNKNOWN = (
    "I am sorry, I do not have information about that. [Please contact our team and they will be "
    "happy to help.|Is there something else I can help you with?|]",
    "I don't have that information[ at hand|]. [Our support team can tell you more.|]",
    "Unfortunately I do not know that. [You could ask our support team.|]",
)
PERSONAS = (
    "You are the [support|customer service|help|friendly] [assistant|agent|bot] of {f}, a [shop|"
    "company|store|website] for {t}.",
    "You [work|answer questions] for {f}, which sells {t}.",
    "You are a [helpful|friendly|polite] [support agent|assistant] at {f}.",
    "You help customers of {f} ({t}).",
    "You are {n}, the [assistant|support agent] of {f}.",
)
MANNERS = (
    "[Answer|Reply] [briefly|politely|in a friendly way|in one or two sentences].",
    "Be [brief|polite|friendly|concise|helpful].",
    "Only use the facts below.",
    "",
    "",
    "",
    "If you do not know something, say so.",
)
GREETINGS = (
    (
        "[Hi|Hello|Hey|Good morning][!|.|]",
        (
            "[Hello|Hi]! [How can I help you today?|What can I do for you?|How can I help?]",
            "[Hello|Welcome] and thank you for contacting {f}. How can I help you?",
        ),
    ),
)
CLOSINGS = (
    (
        "[Thanks|Thank you|Thanks a lot|Great, thanks|Ok thank you][!|.|]",
        (
            "You're welcome! [Have a great day.|Let me know if you need anything else.|]",
            "[My pleasure|Gladly]! [Is there anything else I can do?|Have a nice day.]",
        ),
    ),
    (
        "[Bye|Goodbye|That's all|That is all, bye][!|.|]",
        (
            "Goodbye! [Have a nice day.|]",
            "Thank you for contacting {f}. [Have a nice day!|Goodbye!]",
        ),
    ),
)
WHO = (
    "Who are you?",
    "Are you a [human|robot|bot|real person]?",
    "What is your name?",
    "Who am I [talking|speaking|chatting] [to|with]?",
    "What are you?",
    "Am I talking to a human?",
)
STATUSES = (
    "shipped",
    "being packed",
    "delivered",
    "waiting for payment",
    "on its way",
    "cancelled",
    "delayed",
    "ready for pickup",
    "out for delivery",
    "being prepared",
)


@dataclass(frozen=True)
class Desk:
    """A firm's support desk: its name and the facts that its system text states."""

    firm: str
    agent: str
    trade: str
    facts: tuple[tuple[Topic, str], ...]

    def system(self, rng: Random) -> str:
        """The system text: who the assistant is, how to answer, and the facts."""
        head = spin(rng, rng.choice(PERSONAS)).format(f=self.firm, t=self.trade, n=self.agent)
        facts = [spin(rng, rng.choice(topic.fact)).replace("{v}", v) for topic, v in self.facts]
        listed = "\n".join(f"- {fact}" for fact in facts)
        body = rng.choice((" ".join(facts), " ".join(facts), f"Facts:\n{listed}", f"\n{listed}"))
        return " ".join(spin(rng, f"{head} {rng.choice(MANNERS)}").split()) + f" {body}"


def desk(rng: Random) -> Desk:
    """A firm with two to seven facts, often several of one kind; no two have one value."""
    if rng.random() < 0.6:
        family = rng.choice(FAMILIES)
        topics = rng.sample(family, rng.randint(2, 6)) + rng.sample(TOPICS, rng.randint(0, 3))
    else:
        topics = rng.sample(TOPICS, rng.randint(2, 7))
    rng.shuffle(topics)
    facts: dict[str, tuple[Topic, str]] = {}
    for topic in dict.fromkeys(topics):
        value = spin(rng, topic.value(rng))
        facts.setdefault(value, (topic, value))
    return Desk(
        world.firm(rng), world.first_name(rng), rng.choice(world.TRADES), tuple(facts.values())
    )


def _filled(rng: Random, text: str, at: Desk, value: str = "") -> str:
    out = spin(rng, text).replace("{f}", at.firm).replace("{v}", value)
    return out.replace("{p}", world.product(rng)).strip()


def _who(rng: Random, at: Desk) -> str:
    return spin(
        rng,
        rng.choice(
            (
                f"I am the [support|] assistant of {at.firm}, [run by|powered by] renga haiku, a small "
                "language model.",
                f"I am renga haiku, a small language model that answers for {at.firm}. "
                "[How can I help you?|]",
                f"I'm an AI assistant for {at.firm}, not a human. [I run on renga "
                "haiku, a small language model.|]",
            )
        ),
    )


def _loosely(rng: Random, text: str) -> str:
    if rng.random() < 0.3:
        text = text.lower()
    if rng.random() < 0.2:
        text = text.rstrip("?.!")
    return rng.choice(("Hi, ", "Hello, ", "")) + text if rng.random() < 0.2 else text


def fact_chat(rng: Random) -> Example:
    """A visit to a support desk: greeting, questions about facts, thanks; some facts are missing."""
    at = desk(rng)
    turns = [Turn("system", at.system(rng))]
    asked: list[tuple[str, str]] = []
    if rng.random() < 0.15:
        question, answers = GREETINGS[0]
        asked.append((_filled(rng, question, at), _filled(rng, rng.choice(answers), at)))
    for topic, value in rng.sample(at.facts, min(len(at.facts), rng.randint(1, 5))):
        question = _loosely(rng, _filled(rng, rng.choice(topic.questions), at))
        asked.append((question, _filled(rng, rng.choice(topic.answers), at, value)))
    if rng.random() < 0.15:
        every = (*TOPICS, *PERIODS, *AMOUNTS)
        missing = rng.choice([t for t in every if t not in [known for known, _ in at.facts]])
        question = _filled(rng, rng.choice(missing.questions), at)
        asked.insert(rng.randint(0, len(asked)), (question, _filled(rng, rng.choice(UNKNOWN), at)))
    if rng.random() < 0.1:
        asked.append((spin(rng, rng.choice(WHO)), _who(rng, at)))
    if rng.random() < 0.2:
        question, answers = rng.choice(CLOSINGS)
        asked.append((_filled(rng, question, at), _filled(rng, rng.choice(answers), at)))
    for question, answer in asked:
        turns += [Turn("user", question), Turn("assistant", answer)]
    return Example("facts", tuple(turns))


def order_chat(rng: Random) -> Example:
    """Questions about orders whose state the system text lists."""
    at = desk(rng)
    orders = {
        world.order_number(rng): (world.product(rng), rng.choice(STATUSES), world.date(rng))
        for _ in range(rng.randint(1, 4))
    }
    lines = "\n".join(f"- {n}: {item}, {state}, {day}" for n, (item, state, day) in orders.items())
    head = spin(rng, rng.choice(PERSONAS)).format(f=at.firm, t=at.trade, n=at.agent)
    turns = [Turn("system", f"{head} Orders (number, item, state, date):\n{lines}")]
    for number in rng.sample(list(orders), min(2, len(orders))):
        item, state, day = orders[number]
        question = spin(
            rng,
            rng.choice(
                (
                    f"Where is my order {number}?",
                    f"What is the [state|status] of order {number}?",
                    f"[Can you check|Please check] order {number}[?|.]",
                    f"[Any news on|What about] {number}?",
                    f"My order number is {number}. Where is it?",
                    f"Has {number} been [shipped|sent]?",
                )
            ),
        )
        answer = spin(
            rng,
            rng.choice(
                (
                    f"Your order {number} ({item}) is {state}. [The date is {day}.|]",
                    f"Order {number} is {state}[ as of {day}|]. [Is there anything else I can do for you?|]",
                    f"[I have checked it|Let me see]: the {item} from order {number} is {state}.",
                )
            ),
        )
        turns += [Turn("user", _loosely(rng, question)), Turn("assistant", answer.strip())]
    if rng.random() < 0.2:
        other = world.order_number(rng)
        turns += [
            Turn("user", f"And order {other}?"),
            Turn(
                "assistant",
                spin(
                    rng, f"I am sorry, I cannot find order {other}. [Could you check the number?|]"
                ),
            ),
        ]
    return Example("support", tuple(turns))


_NAMED = {
    "Website Name": "website",
    "Company Name": "our company",
    "Website URL": "our website",
    "Customer Support Phone Number": "the number on our contact page",
    "Live Chat": "live chat",
    "Customer Support Availability": "during our opening hours",
    "Customer Support Hours": "during our opening hours",
    "Customer Support Email": "the address on our contact page",
    "Customer Support Email Address": "the address on our contact page",
    "Support Phone Number": "the number on our contact page",
    "Account": "account",
    "Customer Support": "customer support",
}


def fill_reply(rng: Random, record: Support, given: dict[str, str]) -> tuple[str, str]:
    """Request and reply with every `{{placeholder}}` filled from `given`, then by a plain name."""
    number = next(iter(re.findall(r"\d[\d-]{3,}", record.request)), "") or world.digits(rng, 5, 9)

    def named(found: re.Match[str]) -> str:
        name = found[1].strip()
        if re.search(r"(Order|Purchase|Invoice).*(Number|ID|Anonymized)", name):
            return number
        if re.search(r"Amount|Price|Cost", name):
            return "the amount"
        if name.endswith(("Name", "Person")) and name not in _NAMED:
            return "there"
        return given.get(name) or _NAMED.get(name) or f'"{name}"'

    request = re.sub(
        r"\{\{([^}]*)\}\}", lambda m: number if "Number" in m[1] else "", record.request
    )
    reply = re.sub(r"\{\{([^}]*)\}\}", named, record.reply)
    return " ".join(request.split()), reply.replace("  ", " ")


def reply_chat(rng: Random, records: Sequence[Support]) -> Example:
    """A request of the public support set and its reply, sometimes at a named firm's desk."""
    record = rng.choice(records)
    turns: list[Turn] = []
    given: dict[str, str] = {}
    if rng.random() < 0.6:
        at = desk(rng)
        hours, phone, mail = spin(rng, _hours(rng)), world.phone(rng), world.email(rng)
        given = {
            "Company Name": at.firm,
            "Website Name": f"{at.firm}",
            "Customer Support Phone Number": phone,
            "Customer Support Email": mail,
            "Customer Support Availability": hours,
            "Customer Support Hours": hours,
        }
        head = spin(rng, rng.choice(PERSONAS)).format(f=at.firm, t=at.trade, n=at.agent)
        facts = rng.sample([f"Phone: {phone}.", f"Email: {mail}.", f"Hours: {hours}."], 3)
        turns = [Turn("system", f"{head} {' '.join(facts)}")]
    request, reply = fill_reply(rng, record, given)
    turns += [Turn("user", request), Turn("assistant", reply)]
    return Example("support", tuple(turns))
