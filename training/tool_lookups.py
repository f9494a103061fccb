"""Look-ups that everyday programs have: one value in, one value out, and how people ask for it: the table.

Owns the wordings. Each row is a family of one argument and one field; questions in the words of its trade
stand beside ones that name thing and field, so that a wish is learned both by what it says and by what it means.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from random import Random

from training import world
from training.tool_families import Family, Slot, fill
from training.tool_values import Words, decimal, number, one_of, quantity, ticker, title

FRAMES = (
    "[What is|What's|whats] the {a} of {t} {v}?",
    "[I am|I'm|I was] wondering [what|which] {a} {t} {v} has.",
    "I[ am|'m| was] wondering about the {a} of {t} {v}[, any idea|].",
    "[Can|Could|Will] you find out the {a} of {t} {v}[ for me|]?",
    "[I need|I have|We have] to find out the {a} of {t} {v}[ before I go| before I call them| before noon|, it is urgent|].",
    "[Would|Do] you mind [telling me|checking|looking up] the {a} of {t} {v}[ for me|]?",
    "[Please|] [check|look up|get|tell me|see] the {a} [of|for] {t} {v}[ before we leave| so that I know| for my boss| so I can plan|].",
    "[My|Our|The] {t} is {v}. [What is the {a}|Which {a} does it have|And the {a}]?",
    "{a} [of|for] {t} {v}[?|, please|]",
    "[Have you got|Do you have|Do you know|Is there] the {a} of {t} {v}?",
    "[Help me|I want to|I would like to|I'd love to] [find|know] the {a} of {t} {v}[ now| in time|].",
    "I [need|want|would like|am after] the {a} of {t} {v}[ to go on| before lunch|].",
    "[What|Which] {a} does {t} {v} have[ now| today|]?",
)
"""Ways to ask that name the field `{a}` and the thing `{t}`."""


PLURAL = ("vacation days", "calories", "opening hours")


@dataclass(frozen=True)
class Lookup:
    """One look-up: its trade, what is looked up of what, names, descriptions, argument, answer, questions.

    `thing` goes before the value where the field is named; it may be "" or "the".
    """

    trade: str
    field: str
    thing: str
    names: str
    about: str
    key: str
    value: Words
    result: Words
    answer: str
    questions: str

    def family(self) -> Family:
        """The same as a family of tools."""
        name = self.key.split("|")[0]
        known = {"a": self.field, "t": self.thing, "v": f"{{{name}}}"}
        titled = self.thing not in ("", "the")
        frames = [fill(f, known) for f in FRAMES if titled or "[My|Our|The] {t}" not in f]
        verb = "are" if self.field in PLURAL else "is"
        plain = fill(f"The {{a}} of {{t}} {{v}} {verb} {{r}}.", {**known, "r": f"{{{self.field}}}"})
        asks = [(frame, plain) for frame in frames]
        for line in self.questions.strip().splitlines():
            pair = (text.replace("{v}", known["v"]) for text in (line.strip(), self.answer))
            asks += [tuple(pair)] * 2  # type: ignore[list-item]
        sentence = f"[{{v}}: {{r}}|The {self.field} {verb} {{r}}.|{self.field}: {{r}}]"
        sentence = sentence.replace("{v}", known["v"]).replace("{r}", f"{{{self.field}}}")
        return Family(
            self.trade,
            f"look up the {self.field}" + (f" of a {self.thing}" if titled else ""),
            self.names,
            tuple(self.about.split("\n")),
            {name: Slot(self.key, f"[The|] [{self.key}]", self.value)},
            {self.field: self.result},
            tuple(asks),
            sentence,
        )


def flight(rng: Random) -> str:
    """A flight's number."""
    return "".join(rng.choices(string.ascii_uppercase, k=2)) + world.digits(rng, 2, 4)


def train(rng: Random) -> str:
    """A train's kind and number."""
    return rng.choice(("ICE ", "RE ", "IC ", "RB")) + world.digits(rng, 2, 4)


def gate(rng: Random) -> str:
    """A letter and a small number, as gates, platforms, desks and shelves have."""
    return f"{rng.choice(string.ascii_uppercase[:12])}{rng.randint(1, 99)}"


def day(rng: Random) -> str:
    """A date, mostly without its year."""
    if rng.random() < 0.6:
        month = rng.choice(world.MONTHS)
        number = rng.randint(1, 28)
        return rng.choice((f"{number} {month}", f"{number} {month}", f"{month} {number}"))
    return world.date(rng)


def card(rng: Random) -> str:
    """A number of five to nine digits, in which some come again and again."""
    if rng.random() < 0.3:
        few = rng.sample("123456789", 2) + ["0"]
        return few[0] + "".join(rng.choices(few, k=rng.randint(4, 8)))
    return world.digits(rng, 5, 9)


def room(rng: Random) -> str:
    """What a room is called."""
    return rng.choice(
        (world.word(rng).capitalize(), world.word(rng).capitalize(), gate(rng), title(rng))
    )


def degrees(rng: Random) -> str:
    """A temperature outside."""
    return str(rng.randint(-19, 41))


def money(rng: Random) -> str:
    """An amount with one or two decimals."""
    return f"{rng.randint(1, 900)}.{rng.randint(1, 99)}".removesuffix("0")


def plate(rng: Random) -> str:
    """A car's plate."""
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    return f"{letters}-{world.digits(rng, 2, 4)}"


def goods(rng: Random) -> str:
    """A thing that a shop has."""
    return rng.choice(world.GOODS) if rng.random() < 0.6 else world.product(rng)


ROWS: tuple[Lookup, ...] = (
    Lookup(
        "gates",
        "gate",
        "flight",
        "[get|find|look up|] [gate|boarding gate|flight gate|gate of flight]|gate finder",
        "[Get|Look up|Tells] the gate of a flight.\n[From which|At which] gate a flight [leaves|boards].\nBoarding gates by flight number.",
        "flight|flight number|flight no|flight code|flight id",
        flight,
        gate,
        "Flight {v} [leaves from|departs from|is at] gate {gate}.",
        """
        [Where|At which gate|From which gate] does flight {v} [leave|depart|board|go|take off][ today| from|]?
        [What|Which] gate [is|for] [flight |my flight |]{v}?
        I am [booked on|flying with|on] {v}[, where do I board|. Where do I board|. Which gate is mine]?
        [My flight|Our plane|The plane] {v} [leaves|goes] soon. [Which gate|What gate|Where do I go|To which gate do I go]?
        [Where|To which gate] [must I|do I have to|should I] go for [flight |]{v}?
        [Get|Tell|Give] me the gate [of|for] {v}[, I am late|, I must hurry| or I miss it| before it closes|].
        Has {v} got a gate[ yet| already|]?
        [We are|I am] at the airport and [need|look for] the gate of {v}.
        """,
    ),
    Lookup(
        "flight delays",
        "delay",
        "flight",
        "[get|check|] [flight delay|delay of flight|delay]|is flight late",
        "[Get|Check] how many minutes a flight is late.\n[Delay|Delays] of a flight [in minutes|].",
        "flight|flight number|flight no|flight code",
        flight,
        number(0, 240),
        "Flight {v} is {delay} minutes late.",
        """
        [How late is|How much delay has|Is there a delay for] [flight |]{v}?
        Is {v} [late|delayed|on time][ today|]?
        How many minutes [late is|behind is|do we wait for] {v}?
        My {v} [is not here yet|has not landed]. How late is it?
        """,
    ),
    Lookup(
        "landings",
        "arrival",
        "flight",
        "[get|find|] [arrival time|landing time|flight arrival]|when does flight land",
        "[When|At what time] a flight lands.\n[Get|Look up] the arrival time of a flight.",
        "flight|flight number|flight no|flight code",
        flight,
        world.time_of_day,
        "Flight {v} lands at {arrival}.",
        """
        [When|At what time] does [flight |]{v} [land|arrive|get in|touch down]?
        [I pick up|I fetch|We meet] my [sister|boss] from {v}. When does it land?
        By what time is {v} [here|on the ground]?
        """,
    ),
    Lookup(
        "platforms",
        "platform",
        "train",
        "[get|find|] [platform|train platform|track of train]|platform finder",
        "[Get|Find] the platform of a train.\n[From which|At which] platform a train leaves.",
        "train|train number|train no|service",
        train,
        number(1, 28),
        "Train {v} leaves from platform {platform}.",
        """
        [From which|At which|What|Which] platform does [train |]{v} [leave|go|depart|stop]?
        My train is {v}. [Which platform|Where do I go|Where does it leave]?
        Where [do I catch|can I board|is] [the |]{v}?
        """,
    ),
    Lookup(
        "loans",
        "due date",
        "library card",
        "[get|check|look up|] [due date|loans due|library due date|book due date|return date]|library loans",
        "[Get|Check|Tells] when [the books on a library card|the loans of a reader|borrowed books] [are due|must be back].\n[Due date|Return date] of [borrowed books|the loans on a card].",
        "card|card number|card id|library card|reader number|reader id",
        card,
        day,
        "The [books|loans] on card {v} are due on {due date}.",
        """
        When [are|do] the books on [my |library |]card {v} [due|have to be back|go back]?
        [I have|Mine is] [library card|card|reader card] {v}. [When do I return my books|When must my books be back|Until when can I keep the books|When is everything due]?
        [By when|Until when|By what day] [must I return|do I have to return|do I return|can I keep] the books on [card |]{v}?
        How long may I keep what I borrowed [on|with] card {v}?
        [When|What day] do I have to be at the library again, my card is {v}?
        My [reader|library] number is {v}[ and I borrowed books|]. [What is the due date|When is the last day|When are they due]?
        [See|Check|Tell me] when the [books|borrowed things|loans] of {v} are due[, please|].
        """,
    ),
    Lookup(
        "library fines",
        "fine",
        "library card",
        "[get|check|] [library fine|fines|fine of card|late fee]",
        "[Get|Check] the fine [on|of] a library card.\nWhat a reader owes.",
        "card|card number|card id|library card|reader number",
        card,
        money,
        "The fine on card {v} is {fine}.",
        """
        [What|How much] do I owe [the library|] [on|for] card {v}?
        [Is there|Do I have] a fine on [library card |card |]{v}?
        How high is the fine on {v}?
        """,
    ),
    Lookup(
        "shelves",
        "shelf",
        "book",
        "[get|find|] [shelf|book shelf|shelf of book|book location]|where is book",
        "[On which|The] shelf [a book stands|of a book].\nFind a book in the library.",
        "book|title|book title|name",
        title,
        gate,
        "{v} is on shelf {shelf}.",
        """
        [Where|On which shelf] [is|do I find|can I find|stands] [the book |]{v}?
        I [look for|cannot find|want to read] {v}. [Where does it stand|Which shelf]?
        """,
    ),
    Lookup(
        "room sizes",
        "capacity",
        "room",
        "[get|check|look up|] [room seats|seats of room|room size|seats|meeting room seats|room places]|how many fit",
        "[How many people|The number of people that] [fit into|can meet in|a room holds|go into] a [meeting |]room.\n[Get|Look up] the [seats|capacity|size] of a [meeting |conference |]room.",
        "room|room name|name|meeting room|conference room",
        room,
        number(2, 400),
        "[Room|The room] {v} [has room for|holds|takes] {capacity} people.",
        """
        How many [people|persons|guests|of us] [fit into|fit in|go into|can sit in|can meet in|can be in] [the |][meeting |conference |]room {v}?
        How many [people|persons|guests|chairs|seats] does [the |][meeting |conference |]room {v} [have|take|seat|offer|fit]?
        How many [people|seats|guests] [can|will] [the |]{v} [take|seat|fit|hold]?
        Is {v} big enough for us, how many can [sit|meet] there?
        [We meet|Our meeting is|The party is] in [room |]{v}. How many [can come|people fit|seats are there|may I invite]?
        What is the most people [that fit in|for|allowed in] [room |]{v}?
        [Can|Could] you check how many [people|seats] [room |the room |]{v} [has|holds|takes]?
        [Tell me|I must know|I need to know] how many [persons|people|guests] room {v} [holds|seats|takes|has space for].
        """,
    ),
    Lookup(
        "room bookings",
        "booking",
        "room",
        "[get|check|] [room booking|booking of room|room reservation|who booked room]",
        "[Who|Says who] has booked a room.\n[Get|Check] the booking of a room.",
        "room|room name|name|meeting room",
        room,
        world.person,
        "Room {v} is booked by {booking}.",
        """
        [Who has|Who|By whom is] [booked|reserved] [the |][meeting |]room {v}[ today|]?
        [Is|Who is in] [room |]{v} [free|taken|now]?
        Somebody sits in {v}. Who booked it?
        """,
    ),
    Lookup(
        "extensions",
        "extension",
        "employee",
        "[get|find|look up|] [extension|extension number|employee extension|phone of employee|desk phone]|phone directory|internal phone book",
        "[Get|Find|Look up] the [phone |]extension of [an employee|a colleague|somebody in the office].\nInternal phone numbers[ of the staff|].\n[Under|At] which extension somebody [is reached|can be called].",
        "employee|name|employee name|person|full name|colleague",
        world.person,
        number(100, 9999),
        "[The extension of {v} is {extension}|{v} has the extension {extension}].",
        """
        [What|Which] [number|extension] [do I call|do I ring|can I call|should I dial|must I dial] [for|to get|to talk to|to speak to] {v}?
        [On which extension|Under which number|How] [do I reach|can I reach|can I ring|do I get] {v}?
        I [want|need|have] to [call|ring|phone|dial] {v}. [Which extension|What is the extension|What number is that]?
        [What|Which] extension does {v} [have|use|answer]?
        [Give|Tell|Get] me {v}'s [extension|phone extension|internal number][, please| so that I can call|, I have to call|].
        {v}'s extension[?|, please]
        How can I phone {v} [from my desk|internally|in the office]?
        [Look up|Check] the [desk phone|phone extension|extension] of {v}[ so I can call him| so I can call her| for a call|].
        """,
    ),
    Lookup(
        "holders",
        "holder",
        "account",
        "[get|find|look up|] [holder|account owner|owner of account|account name|account person]|whose account",
        "[Get|Find|Look up] who [owns|has] an account.\n[The|] [owner|holder] of an account[ by its number|].\nTo whom an account belongs.",
        "account|account number|account id|account no|number",
        card,
        world.person,
        "[Account {v} belongs to {holder}|The holder of account {v} is {holder}|{holder} holds account {v}].",
        """
        [Who|Which person|Which customer] [owns|has|holds|is behind|opened] [the |]account {v}?
        [To whom|Who] does [the |]account {v} belong[ to|]?
        [In whose name|On whose name] is [the |]account {v}?
        [Is it known|Can you see|Do you see] who [owns|has|holds] [the |]account {v}?
        Account {v}: who [is that|owns it|holds it|does it belong to]?
        Whose [is|might be|account is] [the account |account |]{v}?
        I have an account number, {v}. [Who does it belong to|Whose is it|Who is the holder]?
        [Tell me|I need|Check|I must know] who [owns|has|is the holder of] account {v}[ before I pay|, please|].
        """,
    ),
    Lookup(
        "balances",
        "balance",
        "account",
        "[get|check|] [balance|account balance|balance of account]",
        "[Get|Check] the balance of an account.\nHow much money is on an account.",
        "account|account number|account id|account no",
        card,
        money,
        "The balance of account {v} is {balance}.",
        """
        How much [money |][is|is left|do I have] [on|in] [the |my |]account {v}?
        [What is left|What do I have] on [account |]{v}?
        How [rich am I|much can I spend] on account {v}?
        """,
    ),
    Lookup(
        "temperatures",
        "temperature",
        "",
        "[get|read|check|] [temperature|temperature now|city temperature|outside temperature|local temperature]|thermometer|how warm",
        "[Get|Read|Tells] the temperature [in|of] a [city|place|town][ in degrees|].\nHow [warm|cold|hot] it is [in a city|somewhere][, in degrees Celsius|].",
        "city|place|town|location|city name",
        world.city,
        degrees,
        "[It is|It has] {temperature} degrees in {v}.",
        """
        How [warm|cold|hot|chilly|mild] is [it in |]{v}[ now| today| at present| this minute|]?
        How many degrees [are there|is it|do we have|has it] in {v}[ now| today| at the moment| right now|]?
        How many degrees [does it have|does one get|are measured] in {v}[ now|]?
        [Tell me|Say|Could you tell me|Can you tell me|Would you mind telling me] how [warm|cold|hot] [it is in {v}|{v} is][ now| today| right now|]?
        What does the thermometer [say|show] in {v}?
        [I fly|I travel|We move|I go] to {v}[ tonight| tomorrow|]. How [warm|cold|hot] is it[ there|]?
        [What|Which] temperature [has|does] {v} [have |][now|today|right now|]?
        Is it [warm|cold|hot|freezing] in {v}[ now| today|]?
        [Do I need|Should I take|Is it time for] a [warm |]coat in {v}?
        Degrees in {v}[?|, please|]
        """,
    ),
    Lookup(
        "air",
        "air quality",
        "",
        "[get|check|] [air quality|air index|pollution]|how clean is air",
        "[Get|Check] the air quality [in|of] a city.\nHow clean the air is.",
        "city|place|town|location",
        world.city,
        one_of("good|fair|poor|bad|very good|moderate"),
        "The air in {v} is {air quality}.",
        """
        How [clean|dirty|good|bad] is the air in {v}?
        [Can|Should] I [run|walk] outside in {v}, how is the air?
        """,
    ),
    Lookup(
        "sunrises",
        "sunrise",
        "",
        "[get|find|] [sunrise|sunrise time|sun up]|when does sun rise",
        "[When|At what time] the sun rises in a city.\n[Get|] the sunrise of a place.",
        "city|place|town|location",
        world.city,
        world.time_of_day,
        "The sun rises at {sunrise} in {v}.",
        """
        [When|At what time] does the sun [rise|come up] in {v}[ tomorrow|]?
        When [is it|does it get] light in {v}?
        """,
    ),
    Lookup(
        "inhabitants",
        "population",
        "",
        "[get|find|] [population|city population|inhabitants]|how many people live",
        "[Get|Find] the population of a [city|town].\nHow many people live in a town.",
        "city|place|town|city name",
        world.city,
        lambda r: world.digits(r, 4, 7),
        "{v} has {population} inhabitants.",
        """
        How [many people live in|big is|many inhabitants has|large is] {v}?
        How many people does {v} have?
        """,
    ),
    Lookup(
        "shop prices",
        "price",
        "the",
        "[get|check|look up|find] [price|product price|shop price|price of item|cost|price tag]|price lookup",
        "[Get|Look up|Tells] [what a thing costs|the price of a thing|the price of an article][ in our shop| in the store|].\nPrices of the things in the shop[, in dollars|].",
        "item|product|article|thing|name|product name",
        goods,
        money,
        "The {v} [costs|is] {price}.",
        """
        [What|How much] does the {v} cost[ here| at your shop| in the store| with you|]?
        [What|How much] [do you want|do you charge|do you ask|must I pay|would I pay|do I pay] for the {v}[ in your store| here|]?
        How [expensive|dear|cheap] is the {v}[ here| in your shop| at your place|]?
        [I want|I'd like|I plan|I am going] to buy the {v}. [What does it cost|How much is it|What's the price|Tell me the price first]?
        [I am|I'm|We are] wondering [what|how much] the {v} costs[ here| at yours|].
        [Tell me|Can you say|Please say|Do you know|Could you check] [what|how much] the {v} costs[ in your store| here|, please| with you|]?
        [Check|Look at|See] the price tag [on|for] the {v}[, please|].
        [Would|Do] you mind [checking|looking up|looking at] the price [of|for] the {v}?
        The {v}, how much[ is it| is that|]?
        [Get|Give] me the price of the {v} [before I order|before I pay|before I decide|so that I can decide|so I can compare].
        """,
    ),
    Lookup(
        "stock counts",
        "stock",
        "the",
        "[get|check|] [stock|stock level|inventory|items in stock]|how many left",
        "[How many|The number] of a product [are|that are] in stock.\n[Check|Get] the stock of a product.",
        "item|product|article|product name",
        goods,
        number(0, 900),
        "There are {stock} of the {v} in stock.",
        """
        How many of the {v} [are left|do we have|are in stock|are there]?
        [Is|Do you have] the {v} [still |][available|there|in stock]?
        Are there any {v} left?
        """,
    ),
    Lookup(
        "aisles",
        "aisle",
        "the",
        "[get|find|] [aisle|product aisle|aisle of product]|where in store",
        "[In which|The] aisle [a product is|of a product].\nFind a product in the store.",
        "item|product|article|product name",
        goods,
        gate,
        "The {v} is in aisle {aisle}.",
        """
        [Where|In which aisle] [do I find|is|can I find] the {v}[ in the store| here|]?
        I cannot find the {v}. Where is it?
        """,
    ),
    Lookup(
        "share prices",
        "price",
        "share",
        "[get|check|look up|] [share price|price of share|share quote|stock value|market price|ticker price]",
        "[Get|Check|Tells] [what a share costs|the price of a share|the value of a share].\n[Latest|Current] price of a stock by its symbol.",
        "symbol|ticker|share|stock|stock symbol|code",
        ticker,
        money,
        "[A share of {v} costs {price}|{v} is at {price}|{v} shares are at {price}].",
        """
        [What|How much] [do|does] [shares of {v}|{v} shares|a share of {v}|one {v} share|{v} stock] cost[ now| today| right now|]?
        [What|How much] is [a share of {v}|{v}|one share of {v}|the {v} share] worth[ today| now|]?
        [At what price|For how much|How high] [does|do] {v} [trade|stand|shares trade|shares go]?
        [I want|I am going|I plan] to [sell|buy] [my |some |]{v}[ shares|]. [What is the price|How much are they|What do they cost]?
        [Would you mind|Do you mind|Can you help by] checking what {v} [stock costs|shares are at|shares go for]?
        [Check|Look up|Get|Tell me] the price of {v} [shares|stock] [before I buy|before the market closes|so that I can sell|for my depot].
        How are {v} shares doing?
        What would I get for a {v} share?
        [I am|I'm] wondering what [a {v} share|{v} stock] costs.
        """,
    ),
    Lookup(
        "rates",
        "rate",
        "currency",
        "[get|check|] [exchange rate|rate|currency rate]",
        "[Get|Check] the exchange rate of a currency.\nHow many dollars one gets for a currency.",
        "currency|code|from|currency code",
        one_of("EUR GBP JPY CHF CAD AUD SEK NOK INR PLN CZK", " "),
        decimal(0, 9),
        "The rate of {v} is {rate}.",
        """
        [How does|How is] {v} [stand|doing]?
        How [strong|high|low] is the {v}?
        """,
    ),
    Lookup(
        "order states",
        "status",
        "order",
        "[get|check|look up|] [status|state of order|order state|order progress|delivery status]|how is order",
        "[Get|Check|Tells] [how far an order is|the state of an order|the status of an order].\n[Where|How] an order is[, by its number|].",
        "order|order id|order number|number|order no",
        world.order_number,
        one_of(
            "shipped|delivered|being packed|delayed|on hold|paid|returned|cancelled|in production|ready|being checked|sent back|awaiting payment"
        ),
        "Order {v} is {status}.",
        """
        How [far|far along] is [my |the |our |]order {v}?
        [Is|Was] [my |the |]order {v} [ready|sent|done|shipped|paid][ yet| already| by now|]?
        [What is going on with|What happens to|Anything new on|What about] [my |the |]order {v}?
        I [ordered something|placed an order|bought something], [the number is|number|it is order] {v}. [How is it going|What is its status|Did it go out]?
        [Would|Do] you mind [looking at|having a look at|checking on] [my |the |]order {v}?
        [Please|] [have a look at|look at|see about|check on] [my |the |]order {v}[ and tell me how it is| and say where it stands|].
        [I am|I'm|I was] wondering [how|what] [my |the |]order {v} [is doing|is up to].
        How [goes it with|does it look for|do things stand with] [my |the |]order {v}?
        """,
    ),
    Lookup(
        "invoices",
        "amount",
        "invoice",
        "[get|check|] [invoice|invoice amount|invoice total|bill]",
        "[Get|Check] the amount of an invoice.\nWhat is to be paid on an invoice.",
        "invoice|invoice number|invoice id|number",
        world.order_number,
        money,
        "The amount of invoice {v} is {amount}.",
        """
        How [much|high] is [the |my |]invoice {v}?
        [What|How much] do I [have to |must |]pay [on|for] invoice {v}?
        I got [the |]invoice {v}. How much is it?
        """,
    ),
    Lookup(
        "plates",
        "owner",
        "car",
        "[get|find|] [car owner|plate owner|owner of plate|vehicle owner]|whose car",
        "[Who|Find who] owns a car, by its plate.\nOwner of a car.",
        "plate|license plate|number plate|car",
        plate,
        world.person,
        "The car {v} belongs to {owner}.",
        """
        [Who|Which person] [owns|drives|parked] [the |]car {v}?
        [Whose car is|Who does the car belong to with the plate] {v}?
        A car blocks my way, the plate is {v}. Whose is it?
        """,
    ),
    Lookup(
        "servers",
        "address",
        "server",
        "[get|find|] [server address|ip address|server ip|ip of server]",
        "[Get|Find] the IP address of a server.\nNetwork address of a machine.",
        "server|host|hostname|machine|name",
        lambda r: f"{world.word(r, 1)}-{r.randint(1, 99)}",
        lambda r: ".".join(str(r.randint(1, 254)) for _ in range(4)),
        "{v} has the address {address}.",
        """
        [What|Which] IP does [the server |server |]{v} have?
        [Under|At] which address [is|do I reach] {v}?
        """,
    ),
    Lookup(
        "uptimes",
        "uptime",
        "server",
        "[get|check|] [uptime|server uptime]|how long up",
        "[Get|Check] how many days a server has run.\nUptime of a machine in days.",
        "server|host|hostname|machine|name",
        lambda r: f"{world.word(r, 1)}-{r.randint(1, 99)}",
        number(0, 900),
        "{v} has been up for {uptime} days.",
        """
        [How long|Since how many days] [is|has been] [the server |server |]{v} [up|running]?
        When did {v} last go down?
        """,
    ),
    Lookup(
        "hotel rooms",
        "rate",
        "hotel",
        "[get|check|] [hotel price|room rate|hotel rate|night price]",
        "[Get|Check] the price of a night in a hotel.\nWhat a hotel room costs.",
        "hotel|hotel name|name|place",
        world.firm,
        number(39, 480),
        "A night at {v} costs {rate}.",
        """
        [What|How much] is a [night|room] [at|in] [the |]{v}?
        We [sleep|stay] at {v}. What does a night cost?
        """,
    ),
    Lookup(
        "tables free",
        "rating",
        "restaurant",
        "[get|check|] [restaurant rating|rating|reviews|stars]",
        "[Get|Check] the rating of a restaurant.\nHow good a restaurant is.",
        "restaurant|place|name|venue",
        world.firm,
        lambda r: f"{r.randint(1, 4)}.{r.randint(1, 9)}",
        "{v} has a rating of {rating}.",
        """
        [Is|How good is] [the restaurant |]{v}[ any good|]?
        How many stars [has|does] {v}[ have|]?
        Do people like {v}?
        """,
    ),
    Lookup(
        "hours",
        "opening hours",
        "",
        "[get|check|] [opening hours|store hours|hours|shop hours]|when open",
        "[Get|Check] the opening hours of a shop.\nWhen a shop is open.",
        "shop|store|place|name|branch",
        world.firm,
        lambda r: f"{r.randint(6, 11)} to {r.randint(15, 22)}",
        "{v} is open from {opening hours}.",
        """
        [When|Until when|How long] is [the |]{v} open[ today|]?
        When does {v} [open|close]?
        Can I still go to {v} now, when do they close?
        """,
    ),
    Lookup(
        "doctors",
        "appointment",
        "patient",
        "[get|find|check|] [appointment|next appointment|patient appointment|doctor visit]",
        "[Get|Find] the next appointment of a patient.\nWhen a patient comes next.",
        "patient|name|patient name|person",
        world.person,
        day,
        "The next appointment of {v} is on {appointment}.",
        """
        When [does|is] {v} [come|due] [next|again]?
        When is {v}'s next [visit|appointment]?
        On which day do we see {v}?
        """,
    ),
    Lookup(
        "birthdays",
        "birthday",
        "",
        "[get|find|] [birthday|date of birth|birth date|birthday of]",
        "[Get|Find] the birthday of a person.\nWhen somebody was born.",
        "name|person|employee|full name",
        world.person,
        day,
        "The birthday of {v} is {birthday}.",
        """
        When [was|is] {v} born?
        When does {v} have [a |her |his |]birthday?
        When do I congratulate {v}?
        """,
    ),
    Lookup(
        "leave",
        "vacation days",
        "employee",
        "[get|check|] [vacation days|leave|holidays left|days off]",
        "[Get|Check] how many vacation days an employee has left.\nDays off that are left.",
        "employee|name|employee name|person",
        world.person,
        number(0, 38),
        "{v} has {vacation days} vacation days.",
        """
        How many [vacation days|days off|holidays] [has|does] {v} [have |]left?
        How much leave does {v} have?
        Can {v} take a day off?
        """,
    ),
    Lookup(
        "desks",
        "desk",
        "employee",
        "[get|find|] [desk|seat of employee|desk of person|workplace]|where sits",
        "[Where|At which desk] somebody sits.\n[Find|Get] the desk of an employee.",
        "employee|name|person|colleague",
        world.person,
        gate,
        "{v} sits at desk {desk}.",
        """
        [Where|At which desk] does {v} [sit|work]?
        Where [do|can] I find {v} in the [office|building]?
        """,
    ),
    Lookup(
        "teams",
        "team",
        "employee",
        "[get|find|] [team|team of employee|department|employee team]",
        "[Get|Find] the team of an employee.\nIn which team somebody works.",
        "employee|name|person|colleague",
        world.person,
        one_of("sales|finance|legal|support|design|research|logistics|marketing"),
        "{v} is in the team {team}.",
        """
        [In which|What|Which] [team|department] [is|works] {v}[ in|]?
        For whom does {v} work?
        What does {v} do here?
        """,
    ),
    Lookup(
        "pets",
        "owner",
        "chip",
        "[get|find|] [pet owner|owner of pet|chip owner]|whose pet",
        "[Find|Get] the owner of a pet by its chip.\nWho owns a pet.",
        "chip|chip number|chip id|number",
        card,
        world.person,
        "The owner of the pet with chip {v} is {owner}.",
        """
        We found a [dog|cat], chip {v}. [Whose is it|Who owns it|Who misses it]?
        [To whom|Whose] [belongs the|is the] [dog|cat|pet] with chip {v}?
        """,
    ),
    Lookup(
        "songs",
        "artist",
        "song",
        "[get|find|] [artist|singer|song artist|artist of song]|who sings",
        "[Get|Find] who sings a song.\nArtist of a song.",
        "song|title|song title|track",
        title,
        world.person,
        "{v} is by {artist}.",
        """
        Who [sings|made|wrote|recorded] {v}?
        By whom is [the song |]{v}?
        """,
    ),
    Lookup(
        "films",
        "length",
        "film",
        "[get|find|] [film length|movie length|running time|length of film]",
        "[Get|Find] how many minutes a film lasts.\nRunning time of a film.",
        "film|movie|title|film title",
        title,
        number(70, 220),
        "{v} lasts {length} minutes.",
        """
        How long [is|lasts|does] [the film |]{v}[ last|]?
        When would we be out if we watch {v}, how long is it?
        """,
    ),
    Lookup(
        "calories",
        "calories",
        "",
        "[get|check|] [calories|food calories|energy]|how many calories",
        "[Get|Check] the calories of a food.\nHow many calories a dish has.",
        "food|dish|meal|name",
        one_of(
            "pizza|pasta|sushi|tacos|curry|salad|ramen|burger|falafel|soup|dumplings|steak|rice|banana|apple|yogurt"
        ),
        number(30, 1200),
        "The {v} has {calories} calories.",
        """
        How many calories [has|are in|does] [a |the |]{v}[ have|]?
        Will [a |]{v} make me fat?
        """,
    ),
    Lookup(
        "vouchers",
        "value",
        "voucher",
        "[get|check|] [voucher|voucher value|gift card|gift card balance]",
        "[Get|Check] what a voucher is worth.\nValue of a gift card.",
        "voucher|code|voucher code|gift card",
        world.code,
        money,
        "The voucher {v} is worth {value}.",
        """
        [How much|What] is [the |my |]voucher {v} worth?
        I got a gift card, {v}. [How much is on it|What is it worth]?
        What is left on [voucher |gift card |]{v}?
        """,
    ),
    Lookup(
        "memberships",
        "expiry",
        "member",
        "[get|check|] [membership|membership end|expiry|member expiry]",
        "[Get|Check] when a membership ends.\nUntil when somebody is a member.",
        "member|member id|member number|number|id",
        card,
        day,
        "The membership {v} ends on {expiry}.",
        """
        When does [the |my |]membership {v} [end|run out|expire]?
        [Until when|How long] am I a member, my number is {v}?
        My member number is {v}. When must I renew?
        """,
    ),
    Lookup(
        "warranties",
        "warranty",
        "",
        "[get|check|] [warranty|warranty end|guarantee]|warranty of device",
        "[Get|Check] until when a device has a warranty.\nEnd of a warranty by serial number.",
        "serial|serial number|device|device id",
        world.code,
        day,
        "The warranty of {v} ends on {warranty}.",
        """
        [How long|Until when] is there a warranty [on|for] {v}?
        Is {v} still under warranty?
        My [phone|washer|laptop] broke, serial {v}. Does the warranty still hold?
        """,
    ),
    Lookup(
        "parking",
        "fee",
        "car park",
        "[get|check|] [parking fee|parking price|car park fee]",
        "[Get|Check] the fee of a car park.\nWhat an hour of parking costs.",
        "car park|place|garage|name",
        world.firm,
        money,
        "Parking at {v} costs {fee} an hour.",
        """
        [What|How much] is parking [at|in] {v}?
        [What|How much] do I pay [to park|for an hour] at {v}?
        """,
    ),
    Lookup(
        "exams",
        "grade",
        "student",
        "[get|check|] [grade|exam result|mark|student grade]",
        "[Get|Check] the grade of a student.\nResult of an exam.",
        "student|name|student name|pupil",
        world.person,
        one_of("A|B|C|D|A-|B+|C+|passed|failed"),
        "{v} has the grade {grade}.",
        """
        [How did|What did] {v} [do|get] in the exam?
        [Did|Has] {v} [pass|passed]?
        """,
    ),
    Lookup(
        "buses",
        "next bus",
        "stop",
        "[get|find|] [next bus|bus times|next departure|bus departure]|when is bus",
        "[When|At what time] the next bus leaves a stop.\nNext departure at a stop.",
        "stop|bus stop|station|name",
        lambda r: f"{r.choice(world.STREETS)} {r.choice(('Street', 'Road', 'Square'))}",
        world.time_of_day,
        "The next bus from {v} leaves at {next bus}.",
        """
        When [is|leaves|goes] the next bus [at|from] {v}?
        [How long do I wait|Is there a bus] at {v}?
        I stand at {v}. When does my bus come?
        """,
    ),
    Lookup(
        "lockers",
        "code",
        "locker",
        "[get|find|] [locker code|code of locker|locker pin]",
        "[Get|Find] the code of a locker.\nCode that opens a locker.",
        "locker|locker number|locker id|number",
        gate,
        lambda r: world.digits(r, 4, 6),
        "The code of locker {v} is {code}.",
        """
        [How|With which code] do I open [locker |]{v}?
        [What|Which] [number|code] opens [locker |]{v}?
        I am locked out of {v}. What is the code?
        """,
    ),
    Lookup(
        "machines",
        "speed",
        "machine",
        "[get|read|] [machine speed|speed|speed of machine]",
        "[Get|Read] the speed of a machine.\nHow fast a machine runs.",
        "machine|machine id|name|unit",
        lambda r: r.choice((gate(r), world.word(r).capitalize())),
        quantity,
        "Machine {v} runs at {speed}.",
        """
        How fast [is|does] [machine |the machine |]{v}[ run| turn|]?
        At what speed is {v} running?
        """,
    ),
)

LOOKUPS: tuple[Family, ...] = tuple(row.family() for row in ROWS)
